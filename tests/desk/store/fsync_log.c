/* Preloaded into the store's server: writes "inode size" for each file that reached the disk, to the
   file named by DURLOG. What is not in that log, a power loss may take. While there is a file named
   by SLOWFS, reaching the disk takes as many microseconds longer as it says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void note(const struct stat *file) {
    const char *path = getenv("DURLOG");
    char line[64];
    if (!path) return;
    snprintf(line, sizeof line, "%llu %lld\n", (unsigned long long)file->st_ino, (long long)file->st_size);
    int log = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (log < 0) return;
    if (write(log, line, strlen(line)) < 0) abort();
    close(log);
}

static void wait_for_disk(void) {
    const char *path = getenv("SLOWFS");
    char text[32] = "";
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    if (read(file, text, sizeof text - 1) > 0) usleep((useconds_t)atol(text));
    close(file);
}

#define LOGGED(name) \
    int name(int fd) { \
        static int (*real)(int); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        struct stat before; /* what is appended during the call may not have reached the disk */ \
        int is_known = !fstat(fd, &before); \
        wait_for_disk(); \
        int answer = real(fd); \
        if (!answer && is_known) note(&before); \
        return answer; \
    }

LOGGED(fsync)
LOGGED(fdatasync)
