/* The nccl transport: what it refuses everywhere, and one rank where there is a GPU. Two ranks need two GPUs. */
#include "unit/base/check.h"

#include "comm/backend/comm_nccl.h"
#include <string.h>

#ifdef LS_CUDA

static void check_refusal(ls_comm *bootstrap, const char *device_name) {
    ls_device *device = NULL;
    ls_comm *comm = NULL;
    assert_int_equal(ls_device_create(device_name, 0, &device), LS_OK);
    assert_int_equal(ls_comm_open_nccl(bootstrap, device, &comm), LS_ERR_INVALID);
    assert_null(comm);
    assert_non_null(strstr(ls_error_message(), "needs ranks (shm or mpi) and device 'cuda'"));
    ls_device_destroy(device);
}

static void test_refuses_other_devices(void **state) {
    (void)state;
    const ls_comm_options options = {.transport = LS_TRANSPORT_SELF};
    ls_comm *self = NULL;
    assert_int_equal(ls_comm_open(&options, &self), LS_OK);
    check_refusal(self, "cpu");
    check_refusal(NULL, "cpu");
    ls_comm_close(self);
}

/* One rank: its own piece comes back, and the sum over one is what was there. */
static void check_calls(ls_comm *comm, ls_device *device) {
    enum { COUNT = 1000 };
    float host[COUNT], back[COUNT];
    void *memory = NULL;
    for (int i = 0; i < COUNT; i++) host[i] = (float)i;
    check_ok(ls_comm_memory_create(comm, sizeof host, &memory));
    check_ok(device->ops->copy_in(device, memory, host, sizeof host));
    const ls_comm_part part = {memory, sizeof host, sizeof host};
    const ls_comm_call call = {.op = "all_gather",
                               .dtype = LS_DTYPE_F32,
                               .shape = {1, {COUNT}},
                               .from = -1,
                               .to = -1,
                               .n_parts = 1,
                               .parts = &part};
    ls_comm_view view;
    check_ok(comm->ops->start(comm, &call));
    check_ok(comm->ops->arrive(comm, 0, 0, &view));
    assert_ptr_equal(view.data, memory);
    assert_int_equal(view.bytes, sizeof host);
    check_ok(comm->ops->finish(comm, 0));
    check_ok(comm->ops->fast_all_reduce(comm, &call, memory, COUNT));
    check_ok(device->ops->copy_out(device, back, memory, sizeof back));
    assert_memory_equal(back, host, sizeof host);
    check_ok(ls_comm_check(comm));
    ls_comm_memory_destroy(comm, memory);
}

static void test_one_rank(void **state) {
    (void)state;
    ls_device *device = NULL;
    if (ls_device_create("cuda", 0, &device) != LS_OK) {
        print_message("not tried: %s\n", ls_error_message());
        skip();
    }
    const ls_comm_options options = {.transport = LS_TRANSPORT_SELF};
    ls_comm *self = NULL, *comm = NULL;
    check_ok(ls_comm_open(&options, &self));
    const ls_status status = ls_comm_open_nccl(self, device, &comm);
    if (status == LS_ERR_UNSUPPORTED) {
        assert_non_null(strstr(ls_error_message(), "install"));
        print_message("not tried: %s\n", ls_error_message());
        ls_comm_close(self);
    } else {
        assert_int_equal(status, LS_OK);
        assert_string_equal(ls_comm_transport(comm), "nccl");
        check_calls(comm, device);
        ls_comm_close(comm);
    }
    ls_device_destroy(device);
}

#else

static void test_is_not_offered(void **state) {
    (void)state;
    const ls_comm_options options = {.transport = LS_TRANSPORT_NCCL};
    ls_comm *comm = NULL;
    assert_int_equal(ls_comm_open(&options, &comm), LS_ERR_UNSUPPORTED);
    assert_null(comm);
    assert_non_null(strstr(ls_error_message(), "nccl"));
}

#endif

int main(void) {
    const struct CMUnitTest tests[] = {
#ifdef LS_CUDA
        cmocka_unit_test(test_refuses_other_devices),
        cmocka_unit_test(test_one_rank),
#else
        cmocka_unit_test(test_is_not_offered),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
