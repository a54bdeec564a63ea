/* Preloaded into a process: its clock is off by as many seconds as the file says that WRONG_CLOCK names, at each look.
   Intervals (CLOCK_MONOTONIC) and the times of files, which the kernel stamps, are right: as on a machine with a wrong
   clock and a file server. libfaketime 0.9.10 cannot do this: it breaks clock_nanosleep where it leaves intervals. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long wrong_by(void) {
    char text[24] = {0};
    const char *name = getenv("WRONG_CLOCK");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 ? atol(text) : 0;
}

int clock_gettime(clockid_t which, struct timespec *at) {
    int (*right)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int status = right(which, at);
    if (status == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) at->tv_sec += wrong_by();
    return status;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    int status = clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return status;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
