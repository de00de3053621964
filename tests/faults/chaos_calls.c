/* Counts the calls of this process that change files below one folder, and at a chosen one sends it a signal
   or lets it fail. Loaded with LD_PRELOAD; does nothing before `chaos_arm`. See chaos.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { GO_ON, SIGNAL, TORN, FAIL, SHORT, FULL };
enum { FILES = 1 << 16 };

static char root[PATH_MAX];
static size_t root_length;
static long wanted, *fired; /* the latter is shared with the process that forked this one */
static int chosen, number, record = -1;
static atomic_long seen;
static unsigned char written[FILES]; /* descriptors that were opened to write below the folder */

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static ssize_t plain_write(int file, const void *data, size_t size) {
    REAL(write);
    return real(file, data, size);
}

void chaos_arm(const char *folder, long at, int action, int value, int log, long *told) {
    strncpy(root, folder, sizeof root - 1);
    root_length = strlen(root);
    wanted = at, chosen = action, number = value, record = log, fired = told;
    atomic_store(&seen, 0);
}

static int below(int folder, const char *path, char *full) {
    if (!root_length || !path) return 0;
    if (path[0] == '/') {
        strncpy(full, path, PATH_MAX - 1);
    } else if (folder != AT_FDCWD) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, full, PATH_MAX - 1);
        if (length < 0) return 0;
        snprintf(full + length, PATH_MAX - length, *path ? "/%s" : "", path);
    } else {
        return 0; /* the commands are started in / and get whole paths */
    }
    return strncmp(full, root, root_length) == 0;
}

/* One more point: returns what is to be done with this call. A signal has then been sent. */
static enum action point(const char *call, const char *path) {
    long now = atomic_fetch_add(&seen, 1) + 1;
    if (record >= 0) {
        char line[PATH_MAX + 32];
        int length = snprintf(line, sizeof line, "%s\t%s\n", call, path);
        plain_write(record, line, length);
    }
    if (chosen == FULL && now > wanted && strchr("owpfmsc", *call) && strncmp(call, "close", 5)) {
        errno = ENOSPC; /* from then on nothing new finds room */
        return FAIL;
    }
    if (now != wanted) return GO_ON;
    *fired = 1;
    if (chosen == SIGNAL) kill(getpid(), number);
    if (chosen == FAIL) errno = number;
    return chosen;
}

static enum action path_point(const char *call, int folder, const char *path) {
    char full[PATH_MAX] = "";
    return below(folder, path, full) ? point(call, full) : GO_ON;
}

static enum action file_point(const char *call, int file) {
    char link[64], full[PATH_MAX] = "";
    if (!root_length || file < 0 || file >= FILES || !written[file]) return GO_ON;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (readlink(link, full, sizeof full - 1) < 0 || strncmp(full, root, root_length)) return GO_ON;
    return point(call, full);
}

static int opened(int file, int is_written) {
    if (file >= 0 && file < FILES) written[file] = is_written;
    return file;
}

#define OPEN(name, folder, ...) \
    mode_t mode = 0; \
    char full[PATH_MAX] = ""; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    } \
    REAL(name); \
    int inside = below(folder, path, full); \
    int writes = inside && (flags & (O_WRONLY | O_RDWR | O_CREAT)); \
    if (writes && point("open", full) == FAIL) return -1; \
    return opened(real(__VA_ARGS__, flags, mode), writes || (inside && (flags & O_DIRECTORY)))

int open(const char *path, int flags, ...) { OPEN(open, AT_FDCWD, path); }
int open64(const char *path, int flags, ...) { OPEN(open64, AT_FDCWD, path); }
int openat(int folder, const char *path, int flags, ...) { OPEN(openat, folder, folder, path); }
int openat64(int folder, const char *path, int flags, ...) { OPEN(openat64, folder, folder, path); }

#define FOPEN(name) \
    REAL(name); \
    char full[PATH_MAX] = ""; \
    int writes = below(AT_FDCWD, path, full) && (mode[0] != 'r' || strchr(mode, '+')); \
    if (writes && point("fopen", full) == FAIL) return NULL; \
    FILE *file = real(path, mode); \
    if (file) opened(fileno(file), writes); \
    return file

FILE *fopen(const char *path, const char *mode) { FOPEN(fopen); }
FILE *fopen64(const char *path, const char *mode) { FOPEN(fopen64); }

/* A write that is torn by a kill, fails, or takes only the first half. */
#define WRITE(name, file, size, whole, half) \
    REAL(name); \
    enum action what = file_point(#name, file); \
    if (what == FAIL) return -1; \
    if (what != TORN && what != SHORT) return whole; \
    ssize_t done = (size) > 1 ? half : whole; \
    if (what == TORN) kill(getpid(), number); \
    return done

ssize_t write(int file, const void *data, size_t size) {
    WRITE(write, file, size, real(file, data, size), real(file, data, size / 2));
}
ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    WRITE(pwrite, file, size, real(file, data, size, at), real(file, data, size / 2, at));
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    WRITE(pwrite64, file, size, real(file, data, size, at), real(file, data, size / 2, at));
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    WRITE(writev, file, count, real(file, parts, count), real(file, parts, count / 2));
}
ssize_t sendfile(int file, int from, off_t *at, size_t size) {
    WRITE(sendfile, file, size, real(file, from, at, size), real(file, from, at, size / 2));
}
ssize_t sendfile64(int file, int from, off64_t *at, size_t size) {
    WRITE(sendfile64, file, size, real(file, from, at, size), real(file, from, at, size / 2));
}
ssize_t copy_file_range(int from, off64_t *a, int file, off64_t *b, size_t size, unsigned flags) {
    WRITE(copy_file_range, file, size, real(from, a, file, b, size, flags),
          real(from, a, file, b, size / 2, flags));
}

#define OF_FILE(name, ...) \
    REAL(name); \
    if (file_point(#name, file) == FAIL) return -1; \
    return real(__VA_ARGS__)

int fsync(int file) { OF_FILE(fsync, file); }
int fdatasync(int file) { OF_FILE(fdatasync, file); }
int ftruncate(int file, off_t size) { OF_FILE(ftruncate, file, size); }
int ftruncate64(int file, off64_t size) { OF_FILE(ftruncate64, file, size); }

int close(int file) {
    REAL(close);
    enum action what = file_point("close", file);
    if (file >= 0 && file < FILES) written[file] = 0;
    int result = real(file); /* as the kernel does: closed also when it fails */
    if (what != FAIL) return result;
    errno = number;
    return -1;
}

#define OF_PATH(name, call, folder, ...) \
    REAL(name); \
    if (path_point(call, folder, path) == FAIL) return -1; \
    return real(__VA_ARGS__)

int unlink(const char *path) { OF_PATH(unlink, "unlink", AT_FDCWD, path); }
int unlinkat(int folder, const char *path, int flags) {
    OF_PATH(unlinkat, flags & AT_REMOVEDIR ? "rmdir" : "unlink", folder, folder, path, flags);
}
int rmdir(const char *path) { OF_PATH(rmdir, "rmdir", AT_FDCWD, path); }
int mkdir(const char *path, mode_t mode) { OF_PATH(mkdir, "mkdir", AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) {
    OF_PATH(mkdirat, "mkdir", folder, folder, path, mode);
}
int chmod(const char *path, mode_t mode) { OF_PATH(chmod, "chmod", AT_FDCWD, path, mode); }
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    OF_PATH(fchmodat, "chmod", folder, folder, path, mode, flags);
}
int truncate(const char *path, off_t size) { OF_PATH(truncate, "truncate", AT_FDCWD, path, size); }
int rename(const char *from, const char *path) { OF_PATH(rename, "rename", AT_FDCWD, from, path); }
int renameat(int a, const char *from, int b, const char *path) {
    OF_PATH(renameat, "rename", b, a, from, b, path);
}
int renameat2(int a, const char *from, int b, const char *path, unsigned flags) {
    OF_PATH(renameat2, "rename", b, a, from, b, path, flags);
}
int link(const char *from, const char *path) { OF_PATH(link, "link", AT_FDCWD, from, path); }
int linkat(int a, const char *from, int b, const char *path, int flags) {
    OF_PATH(linkat, "link", b, a, from, b, path, flags);
}
int symlink(const char *to, const char *path) { OF_PATH(symlink, "symlink", AT_FDCWD, to, path); }
