/* A cable with a latency, for kernels without netem: two TAP devices in this network namespace; each frame that comes in at the
 * first leaves at the second so many milliseconds later, the other way at once.
 * usage: delay_line NEAR FAR MILLISECONDS (tools/hosts.sh bridges the devices). Prints "ready" when they are up; runs until it
 * is killed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Frames on the way: 1 Gbit/s for 100 ms is some 8,000 of 1,514 bytes. More are dropped, as a full queue does. */
enum { FRAMES = 16384, FRAME_BYTES = 1600 };

typedef struct frame {
    double due; /* seconds */
    ssize_t bytes;
    char data[FRAME_BYTES];
} frame;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int refuse(const char *what, const char *name) {
    fprintf(stderr, "delay_line: %s %s: %s\n", what, name, strerror(errno));
    return -1;
}

static int open_tap(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (fd < 0 || control < 0) return refuse("/dev/net/tun for", name);
    if (ioctl(fd, TUNSETIFF, &request) != 0) return refuse("making", name);
    request.ifr_flags = IFF_UP;
    if (ioctl(control, SIOCSIFFLAGS, &request) != 0) return refuse("raising", name);
    close(control);
    return fd;
}

/* Everything that waits at near joins the queue. */
static void take(int near, double delay, frame *frames, size_t first, size_t *n) {
    char spill[FRAME_BYTES];
    for (;;) {
        frame *at = &frames[(first + *n) % FRAMES];
        const ssize_t bytes = read(near, *n < FRAMES ? at->data : spill, FRAME_BYTES);
        if (bytes <= 0) return;
        if (*n == FRAMES) continue;
        at->bytes = bytes;
        at->due = now() + delay;
        ++*n;
    }
}

static void pass_on(int from, int to) {
    char data[FRAME_BYTES];
    ssize_t bytes;
    while ((bytes = read(from, data, sizeof data)) > 0)
        if (write(to, data, (size_t)bytes) < 0 && errno != EAGAIN) return;
}

static void run(int near, int far, double delay, frame *frames) {
    size_t first = 0, n = 0;
    for (;;) {
        struct pollfd wanted[] = {{.fd = near, .events = POLLIN}, {.fd = far, .events = POLLIN}};
        const double left = n ? frames[first].due - now() : 3600;
        const struct timespec until = {(time_t)(left > 0 ? left : 0),
                                       left > 0 ? (long)((left - (double)(time_t)left) * 1e9) : 0};
        if (ppoll(wanted, 2, &until, NULL) < 0 && errno != EINTR) return;
        take(near, delay, frames, first, &n);
        pass_on(far, near);
        while (n && frames[first].due <= now()) {
            /* A frame that the device does not take is lost, as on a cable. */
            if (write(far, frames[first].data, (size_t)frames[first].bytes) < 0 && errno == EBADF)
                return;
            first = (first + 1) % FRAMES;
            n--;
        }
    }
}

int main(int argc, char **argv) {
    char *end = NULL;
    const double ms = argc == 4 ? strtod(argv[3], &end) : 0;
    if (argc != 4 || *end || !(ms > 0 && ms < 1000)) {
        fprintf(stderr, "usage: delay_line NEAR FAR MILLISECONDS (above 0, below 1000)\n");
        return 2;
    }
    const int near = open_tap(argv[1]), far = near < 0 ? -1 : open_tap(argv[2]);
    frame *frames = calloc(FRAMES, sizeof *frames);
    if (near < 0 || far < 0 || !frames) return 3;
    puts("ready");
    fflush(stdout);
    run(near, far, ms / 1000, frames);
    return 3;
}
