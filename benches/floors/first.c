/* How long until a task's first instruction, one after the other, each into an idle machine.
   first N FIFO add SOCKET REQUEST: from sending the request to the instant that the task writes into the FIFO.
   first N FIFO spawn FILE PROGRAM [ARGUMENT...]: the floor, from before one fdatasync of FILE and a posix_spawn.
   Prints the median in microseconds. */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int connected(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int to = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(to, (struct sockaddr *)&address, sizeof address) == 0 ? to : -1;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Reads one answer line; 0 when it says ok. */
static int answered(int from) {
    char text[65536];
    size_t have = 0;
    while (have == 0 || text[have - 1] != '\n') {
        ssize_t got = read(from, text + have, sizeof text - 1 - have);
        if (got <= 0) return 1;
        have += got;
    }
    text[have] = 0;
    return strstr(text, "\"ok\":true") == NULL;
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    int count = atoi(argv[1]), adds = strcmp(argv[3], "add") == 0;
    int fifo = open(argv[2], O_RDWR | O_CLOEXEC);
    int to = adds ? connected(argv[4]) : open(argv[4], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int64_t *took = calloc(count, sizeof *took);
    char request[4096], block[4096] = {0};
    int length = snprintf(request, sizeof request, "%s\n", argv[5]);
    if (fifo < 0 || to < 0 || took == NULL) return 1;
    for (int i = 0; i < count; i++) {
        int64_t begun = now(), first;
        pid_t pid = 0;
        if (adds) {
            if (write(to, request, length) != length) return 1;
        } else {
            if (pwrite(to, block, sizeof block, 0) != sizeof block || fdatasync(to) != 0) return 1;
            if (posix_spawn(&pid, argv[5], NULL, NULL, argv + 5, environ) != 0) return 1;
        }
        if (read(fifo, &first, sizeof first) != sizeof first) return 1;
        if (adds ? answered(to) != 0 : waitpid(pid, NULL, 0) < 0) return 1;
        took[i] = first - begun;
        struct timespec rest = {0, 10000000};
        nanosleep(&rest, NULL);
    }
    qsort(took, count, sizeof *took, ascending);
    printf("%.1f\n", took[count / 2] / 1e3);
    return 0;
}
