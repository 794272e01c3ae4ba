/* The floor: posix_spawn and wait4, so many /bin/true at once. floor N C: prints tasks per second. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

int main(int argc, char **argv) {
    int left = argc > 1 ? atoi(argv[1]) : 4000, at_once = argc > 2 ? atoi(argv[2]) : 2, total = left, running = 0;
    char *task[] = {"true", NULL};
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    while (left > 0 || running > 0) {
        if (left > 0 && running < at_once) {
            pid_t pid;
            if (posix_spawn(&pid, "/bin/true", NULL, NULL, task, environ) != 0) return 1;
            left--, running++;
        } else {
            struct rusage usage;
            if (wait4(-1, NULL, 0, &usage) < 0) return 1;
            running--;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.0f\n", total / ((end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) / 1e9));
    return 0;
}
