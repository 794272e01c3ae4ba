/* A disk between the daemon and its queue, by LD_PRELOAD: it records what is asked of the queue's files, and fails on
 * demand. Only files of SHIM_HOME whose name begins with "queue.db" are looked at, and the folder itself; queue.db-shm
 * is not on the disk as far as a power cut is concerned, so it is not recorded.
 *
 *   SHIM_RECORD=FILE  appends a record for each effect, in their order, each with a line and its bytes:
 *                       C NAME            created                   W NAME OFFSET LENGTH  written
 *                       T NAME LENGTH     truncated                 S NAME                synced (NAME .: the folder)
 *                       U NAME            unlinked                  R FROM TO             renamed
 *                       A LENGTH          an answer is about to be sent on a socket
 *   SHIM_FAULT="WHAT NAME N ERRNO once|on"
 *                     the Nth write, sync, read, truncate or map of NAME fails with ERRNO, once or from then on;
 *                     they are counted while the file SHIM_ARM is there; ERRNO 0: instead of it the process is
 *                     killed
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 4096
#define NAME 64
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Held from before an effect until its record is written, so that the records are in the order of the effects. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char names[FILES][NAME];
static char home[PATH_MAX];
static int record = -1;
static char what[16], fault_name[NAME], how[8];
static const char *arm;
static int at, error, seen;

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("SHIM_HOME"), *file = getenv("SHIM_RECORD"), *fault = getenv("SHIM_FAULT");
    arm = getenv("SHIM_ARM");
    if (folder) snprintf(home, sizeof home, "%s", folder);
    if (file) record = REAL(open)(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fault) sscanf(fault, "%15s %63s %d %d %7s", what, fault_name, &at, &error, how);
}

/* The name under which a path is looked at, or null. */
static const char *name_of(const char *path) {
    size_t length = strlen(home);
    if (!length || strncmp(path, home, length)) return NULL;
    if (!path[length]) return ".";
    if (path[length] != '/' || strncmp(path + length + 1, "queue.db", 8)) return NULL;
    return path + length + 1;
}

static const char *name_of_fd(int fd) { return fd >= 0 && fd < FILES && names[fd][0] ? names[fd] : NULL; }

static int recorded(const char *name) { return record >= 0 && name && strcmp(name, "queue.db-shm"); }

static void note(const char *line, const void *bytes, size_t length) {
    int before = errno;
    struct iovec parts[] = {{(void *)line, strlen(line)}, {(void *)bytes, length}, {"\n", length ? 1 : 0}};
    if (writev(record, parts, 3) < 0) abort();
    errno = before;
}

/* Whether this effect is to fail; errno says how. */
static int fails(const char *kind, const char *name) {
    if (!name || strcmp(kind, what) || strcmp(name, fault_name) || !arm || access(arm, F_OK)) return 0;
    seen++;
    if (seen < at || (seen > at && !strcmp(how, "once"))) return 0;
    if (!error) {
        kill(getpid(), SIGKILL);
        pause();
    }
    errno = error;
    return 1;
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    const char *name = folder == AT_FDCWD ? name_of(path) : NULL;
    if (!name) return REAL(openat)(folder, path, flags, mode);
    pthread_mutex_lock(&turn);
    int created = (flags & O_CREAT) && access(path, F_OK);
    int fd = REAL(openat)(folder, path, flags, mode);
    if (fd >= 0 && fd < FILES) {
        snprintf(names[fd], NAME, "%s", name);
        if (created && recorded(name)) {
            char line[NAME + 8];
            snprintf(line, sizeof line, "C %s\n", name);
            note(line, NULL, 0);
        }
    }
    pthread_mutex_unlock(&turn);
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return opened(folder, path, flags, mode); }

int close(int fd) {
    if (name_of_fd(fd)) names[fd][0] = 0;
    return REAL(close)(fd);
}

static ssize_t written(int fd, const void *bytes, size_t length, off64_t offset) {
    const char *name = name_of_fd(fd);
    if (!name) return REAL(pwrite64)(fd, bytes, length, offset);
    pthread_mutex_lock(&turn);
    ssize_t done = fails("write", name) ? -1 : REAL(pwrite64)(fd, bytes, length, offset);
    if (done > 0 && recorded(name)) {
        char line[NAME + 64];
        snprintf(line, sizeof line, "W %s %lld %zd\n", name, (long long)offset, done);
        note(line, bytes, (size_t)done);
    }
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return written(fd, bytes, length, offset); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) { return written(fd, bytes, length, offset); }

/* The queue's files are written with pwrite64 alone; a write that would not be recorded must not pass unseen. */
ssize_t write(int fd, const void *bytes, size_t length) {
    if (name_of_fd(fd)) abort();
    return REAL(write)(fd, bytes, length);
}

static int was_read(int fd) {
    if (!name_of_fd(fd)) return 1;
    pthread_mutex_lock(&turn);
    int good = !fails("read", name_of_fd(fd));
    pthread_mutex_unlock(&turn);
    return good;
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset) {
    return was_read(fd) ? REAL(pread)(fd, bytes, length, offset) : -1;
}
ssize_t pread64(int fd, void *bytes, size_t length, off64_t offset) {
    return was_read(fd) ? REAL(pread64)(fd, bytes, length, offset) : -1;
}

static int synced(int fd, int (*really)(int)) {
    const char *name = name_of_fd(fd);
    if (!name) return really(fd);
    pthread_mutex_lock(&turn);
    int done = fails("sync", name) ? -1 : really(fd);
    if (!done && recorded(name)) {
        char line[NAME + 8];
        snprintf(line, sizeof line, "S %s\n", name);
        note(line, NULL, 0);
    }
    pthread_mutex_unlock(&turn);
    return done;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

static int truncated(int fd, off64_t length) {
    const char *name = name_of_fd(fd);
    if (!name) return REAL(ftruncate64)(fd, length);
    pthread_mutex_lock(&turn);
    int done = fails("truncate", name) ? -1 : REAL(ftruncate64)(fd, length);
    if (!done && recorded(name)) {
        char line[NAME + 32];
        snprintf(line, sizeof line, "T %s %lld\n", name, (long long)length);
        note(line, NULL, 0);
    }
    pthread_mutex_unlock(&turn);
    return done;
}

int ftruncate(int fd, off_t length) { return truncated(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncated(fd, length); }

int unlink(const char *path) {
    const char *name = name_of(path);
    if (!recorded(name)) return REAL(unlink)(path);
    pthread_mutex_lock(&turn);
    int done = REAL(unlink)(path);
    if (!done) {
        char line[NAME + 8];
        snprintf(line, sizeof line, "U %s\n", name);
        note(line, NULL, 0);
    }
    pthread_mutex_unlock(&turn);
    return done;
}

int rename(const char *from, const char *to) {
    const char *one = name_of(from), *other = name_of(to);
    if (!recorded(one) && !recorded(other)) return REAL(rename)(from, to);
    pthread_mutex_lock(&turn);
    int done = REAL(rename)(from, to);
    if (!done) {
        char line[2 * NAME + 8];
        snprintf(line, sizeof line, "R %s %s\n", one ? one : "-", other ? other : "-");
        note(line, NULL, 0);
    }
    pthread_mutex_unlock(&turn);
    return done;
}

static int may_map(int fd) {
    if (!name_of_fd(fd)) return 1;
    pthread_mutex_lock(&turn);
    int good = !fails("map", name_of_fd(fd));
    pthread_mutex_unlock(&turn);
    return good;
}

void *mmap(void *where, size_t length, int protection, int flags, int fd, off_t offset) {
    return may_map(fd) ? REAL(mmap)(where, length, protection, flags, fd, offset) : MAP_FAILED;
}
void *mmap64(void *where, size_t length, int protection, int flags, int fd, off64_t offset) {
    return may_map(fd) ? REAL(mmap64)(where, length, protection, flags, fd, offset) : MAP_FAILED;
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    if (record >= 0 && length > 6 && !memcmp(bytes, "{\"ok\":", 6)) {
        char line[32];
        pthread_mutex_lock(&turn);
        snprintf(line, sizeof line, "A %zu\n", length);
        note(line, bytes, length);
        pthread_mutex_unlock(&turn);
    }
    return REAL(send)(fd, bytes, length, flags);
}
