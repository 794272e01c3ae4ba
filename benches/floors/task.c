/* What the measured tasks run, ours and the floor's alike. The clock is read before anything else.
   task print: writes 1 KiB. task first FIFO: writes its first instant. task gap FILE: appends its first and its last.
   task wait MS: sleeps. Instants are CLOCK_MONOTONIC in ns, as eight bytes each. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int main(int argc, char **argv) {
    int64_t at[2] = {now(), 0};
    if (argc < 2) return 2;
    if (strcmp(argv[1], "print") == 0) {
        char text[1024];
        memset(text, 'x', sizeof text);
        text[sizeof text - 1] = '\n';
        return write(STDOUT_FILENO, text, sizeof text) != sizeof text;
    }
    if (argc < 3) return 2;
    if (strcmp(argv[1], "wait") == 0) {
        long ms = atol(argv[2]);
        struct timespec left = {ms / 1000, ms % 1000 * 1000000};
        return nanosleep(&left, NULL) != 0;
    }
    int file = open(argv[2], O_WRONLY | O_APPEND);
    if (file < 0) return 1;
    if (strcmp(argv[1], "first") == 0) return write(file, at, sizeof at[0]) != sizeof at[0];
    at[1] = now();
    return write(file, at, sizeof at) != sizeof at;
}
