#include "comm/comm.h"

static ls_status refuse_send(ls_comm *comm, int channel, const void *data) {
    (void)comm;
    (void)data;
    return LS_FAIL(LS_ERR_INTERNAL,
                   "comm self: asked to send on channel %d, but one rank alone has no peers",
                   channel);
}

static ls_status refuse_recv(ls_comm *comm, int channel, void *data) {
    (void)comm;
    (void)data;
    return LS_FAIL(LS_ERR_INTERNAL,
                   "comm self: asked to receive on channel %d, but one rank alone has no peers",
                   channel);
}

static void ignore_abort(ls_comm *comm, const char *reason) {
    (void)comm;
    (void)reason;
}

static const ls_comm_ops self_ops = {"self", refuse_send, refuse_recv, ignore_abort};

ls_comm ls_comm_self(void) {
    return (ls_comm){&self_ops, 0, 1};
}
