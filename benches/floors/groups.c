/* SQLite alone: prepared statements, row by row, in transactions of GROUP rows.
   groups DATABASE SETUP N GROUP STATEMENT...: carries SETUP (a file of SQL) out, then times N rows. A statement is
   `each SQL`, for every row of a group, or `once SQL`, once for the group, all its rows read. In both
   ?1 is the row's id (the group's first) and ?2 the time in ms; ?3 is a name (`once`: the size of the group) and ?4
   the row as its JSON line. Prints the seconds and how many bytes this process wrote to the disk. */
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static sqlite3 *database;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, sqlite3_errmsg(database));
    exit(1);
}

static void execute(const char *sql) {
    if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK) fail(sql);
}

static void set_up(const char *path) {
    FILE *file = fopen(path, "r");
    static char text[1 << 20];
    if (file == NULL) fail(path);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    execute(text);
}

static void step(sqlite3_stmt *statement, int64_t id, int64_t now, int64_t size) {
    char name[32], line[256];
    int parameters = sqlite3_bind_parameter_count(statement), result;
    if (parameters >= 1) sqlite3_bind_int64(statement, 1, id);
    if (parameters >= 2) sqlite3_bind_int64(statement, 2, now);
    if (parameters >= 3 && size > 0) sqlite3_bind_int64(statement, 3, size);
    if (parameters >= 3 && size == 0) {
        int length = snprintf(name, sizeof name, "t%" PRId64, id);
        sqlite3_bind_text(statement, 3, name, length, SQLITE_STATIC);
    }
    if (parameters >= 4) {
        const char *task = "{\"name\":\"t%" PRId64 "\",\"function\":\"simulate\",\"params\":{\"duration\":0},\"max_retries\":0}";
        int length = snprintf(line, sizeof line, task, id);
        sqlite3_bind_text(statement, 4, line, length, SQLITE_STATIC);
    }
    while ((result = sqlite3_step(statement)) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(statement); i++) sqlite3_column_text(statement, i);
    if (result != SQLITE_DONE) fail(sqlite3_sql(statement));
    sqlite3_reset(statement);
}

static long long written(void) {
    FILE *file = fopen("/proc/self/io", "r");
    char key[32];
    long long value = -1;
    while (file != NULL && fscanf(file, "%31s %lld", key, &value) == 2)
        if (strcmp(key, "write_bytes:") == 0) break;
    if (file != NULL) fclose(file);
    return value;
}

int main(int argc, char **argv) {
    enum { MOST = 8, FIRST = 5 };
    sqlite3_stmt *statements[MOST];
    if (argc <= FIRST || argc - FIRST > MOST) return 2;
    if (sqlite3_open(argv[1], &database) != SQLITE_OK) fail(argv[1]);
    set_up(argv[2]);
    int64_t count = atoll(argv[3]), group = atoll(argv[4]);
    int used = argc - FIRST;
    for (int i = 0; i < used; i++)
        if (sqlite3_prepare_v2(database, argv[FIRST + i] + 5, -1, &statements[i], NULL) != SQLITE_OK) fail(argv[FIRST + i]);
    struct timespec begin, end, wall;
    long long before = written();
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int64_t first = 1; first <= count; first += group) {
        int64_t last = first + group - 1 < count ? first + group - 1 : count;
        clock_gettime(CLOCK_REALTIME, &wall);
        int64_t now = wall.tv_sec * INT64_C(1000) + wall.tv_nsec / 1000000;
        execute("BEGIN IMMEDIATE");
        for (int i = 0; i < used; i++) {
            if (strncmp(argv[FIRST + i], "once", 4) == 0) {
                step(statements[i], first, now, last - first + 1);
                continue;
            }
            for (int64_t id = first; id <= last; id++) step(statements[i], id, now, 0);
        }
        execute("COMMIT");
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.6f %lld\n", (end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) / 1e9, written() - before);
    return 0; /* not closed: closing would move the log into the file once more */
}
