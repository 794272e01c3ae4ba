/* The floor of running processes: posix_spawn and wait4, nothing kept on disk.
   spawn N C [-o DIR | -s] -- PROGRAM [ARGUMENT...]: N of them, C at once; with -o each has a file of its own as
   standard output, with -s a session of its own. Prints the seconds. Ends with 1 when one could not be started or
   failed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int start(char **task, const char *folder, const posix_spawnattr_t *session, int number) {
    pid_t pid;
    if (folder == NULL) return posix_spawn(&pid, task[0], NULL, session, task, environ);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%d", folder, number);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) return 1;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, file, STDOUT_FILENO);
    int failed = posix_spawn(&pid, task[0], &actions, NULL, task, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(file);
    return failed;
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    int left = atoi(argv[1]), at_once = atoi(argv[2]), running = 0, number = 0, place = 3;
    const char *folder = NULL;
    posix_spawnattr_t session, *attributes = NULL;
    if (strcmp(argv[place], "-s") == 0) {
        posix_spawnattr_init(&session);
        posix_spawnattr_setflags(&session, POSIX_SPAWN_SETSID);
        attributes = &session, place++;
    }
    if (strcmp(argv[place], "-o") == 0) folder = argv[place + 1], place += 2;
    char **task = argv + place + 1;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    while (left > 0 || running > 0) {
        if (left > 0 && running < at_once) {
            if (start(task, folder, attributes, number++) != 0) return 1;
            left--, running++;
        } else {
            struct rusage usage;
            int status;
            if (wait4(-1, &status, 0, &usage) < 0 || status != 0) return 1;
            running--;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.6f\n", (end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) / 1e9);
    return 0;
}
