/* Named shared memory without Python, for the sanitizers: names, and both orders in which one is made. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/pp_named.h"
#include "tests/check.h"

static void check_names(void)
{
    struct pp_named named;
    char name[300];
    memset(name, 'x', sizeof name);
    name[255] = '\0';
    CHECK(pp_named_path(&named, name) == 0);
    name[255] = 'x';
    name[256] = '\0';
    CHECK(pp_named_path(&named, name) == -1 && errno == ENAMETOOLONG);
    const char *wrong[] = {"", "/", "a/b", "../tmp/x"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK(pp_named_path(&named, wrong[i]) == -1 && errno == EINVAL);
    }
    CHECK(pp_named_path(&named, "//psm_x") == 0 && strcmp(named.path, "/dev/shm/psm_x") == 0);
}

static void check_making(int with_name)
{
    struct pp_named named, other;
    struct stat info;
    char name[64];
    uint64_t start = 0;
    snprintf(name, sizeof name, "/pptest_%d_%d", getpid(), with_name);
    CHECK(pp_named_path(&named, name) == 0 && pp_named_path(&other, name) == 0);
    CHECK(pp_named_open(&other) == -1 && errno == ENOENT);
    CHECK(pp_named_make(&named, with_name) == 0);
    CHECK((stat(named.path, &info) == 0) == (named.has_name != 0));
    CHECK(pp_named_reserve(&named, &start, 4096) == 0 && pp_named_reserve(&named, &start, 904) == 0 && start == 5000);
    CHECK(pp_named_link(&named) == 0 && named.has_name);
    CHECK(pp_named_open(&other) == 0 && fstat(other.fd, &info) == 0 && info.st_size == 5000);
    close(other.fd);
    CHECK(pp_named_make(&other, 1) == -1 && errno == EEXIST);
    CHECK(pp_named_make(&other, 0) == 0);
    if (!other.has_name) {
        CHECK(pp_named_link(&other) == -1 && errno == EEXIST && !other.has_name);
    }
    close(other.fd);
    close(named.fd);
    CHECK(unlink(named.path) == 0);
}

int main(void)
{
    check_names();
    check_making(1);
    check_making(0);
    puts("named: fine");
    return 0;
}
