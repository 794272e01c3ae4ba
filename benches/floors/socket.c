/* What any client and server over a Unix socket cost.
   socket serve SOCKET FILE: answers every line, each after one fdatasync of FILE.
   socket ask SOCKET: one line to it and its answer, as a program of its own.
   socket clients SOCKET C N REQUEST: C clients at once send the request N times in all, each waiting for its
   answer; prints the seconds. Ends with 1 when an answer is not ok. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_un address = {.sun_family = AF_UNIX};

static int connected(void) {
    int to = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(to, (struct sockaddr *)&address, sizeof address) == 0 ? to : -1;
}

static int serve(const char *path) {
    char text[4096] = {0};
    int file = open(path, O_WRONLY | O_CREAT, 0600), at = socket(AF_UNIX, SOCK_STREAM, 0), client;
    if (file < 0 || bind(at, (struct sockaddr *)&address, sizeof address) != 0 || listen(at, 64) != 0) return 1;
    while ((client = accept(at, NULL, NULL)) >= 0) {
        if (read(client, text, sizeof text) > 0) {
            if (pwrite(file, text, sizeof text, 0) < 0 || fdatasync(file) != 0) return 1;
            if (write(client, "ok\n", 3) != 3) return 1;
        }
        close(client);
    }
    return 1;
}

static int ask(void) {
    char text[16];
    int to = connected();
    return to < 0 || write(to, "add\n", 4) != 4 || read(to, text, sizeof text) != 3;
}

static int clients(int count, int total, const char *line) {
    struct pollfd *at = calloc(count, sizeof *at);
    char request[4096], text[65536];
    int length = snprintf(request, sizeof request, "%s\n", line), sent = 0, done = 0;
    struct timespec begin, end;
    for (int i = 0; i < count; i++) at[i] = (struct pollfd){connected(), POLLIN, 0};
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < count && sent < total; i++, sent++)
        if (write(at[i].fd, request, length) != length) return 1;
    while (done < total) {
        if (poll(at, count, 60000) <= 0) return 1;
        for (int i = 0; i < count; i++) {
            if (at[i].revents == 0) continue;
            /* An answer to an add is short and comes whole. */
            ssize_t got = read(at[i].fd, text, sizeof text - 1);
            if (got <= 0 || text[got - 1] != '\n') return 1;
            text[got] = 0;
            if (strstr(text, "\"ok\":true") == NULL) return 1;
            done++;
            if (sent == total) continue;
            if (write(at[i].fd, request, length) != length) return 1;
            sent++;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.6f\n", (end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) / 1e9);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    strncpy(address.sun_path, argv[2], sizeof address.sun_path - 1);
    if (strcmp(argv[1], "ask") == 0) return ask();
    if (strcmp(argv[1], "serve") == 0 && argc == 4) return serve(argv[3]);
    if (strcmp(argv[1], "clients") == 0 && argc == 6) return clients(atoi(argv[3]), atoi(argv[4]), argv[5]);
    return 2;
}
