/*
 * The basics by ZooKeeper's C client (Debian: libzookeeper-mt-dev): basics HOST:PORT[,HOST:PORT...]. The variable RESTART may hold a
 * command that kills the server and starts it again. Ends with 'N passed, M failed'. The server needs extendedTypesEnabled.
 */
#define THREADED
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

enum { PATIENCE = 20, SESSION = 10000 };

static const char *servers;
static char root[64];
static int passed, failed;
static char why[512];

/* What watchers are told, one line each: 'type path below ours'. */
struct seen {
    pthread_mutex_t lock;
    int count;
    char all[64][160];
};

#define SEEN {PTHREAD_MUTEX_INITIALIZER, 0, {""}}

static void saw(zhandle_t *zh, int type, int state, const char *path, void *context) {
    struct seen *seen = context;
    (void)zh;
    (void)state;
    if (type == ZOO_SESSION_EVENT || seen == NULL) return;
    const char *name = type == ZOO_CREATED_EVENT ? "created"
        : type == ZOO_DELETED_EVENT ? "deleted"
        : type == ZOO_CHANGED_EVENT ? "changed"
        : type == ZOO_CHILD_EVENT ? "child"
        : "other";
    pthread_mutex_lock(&seen->lock);
    if (seen->count < 64) {
        snprintf(seen->all[seen->count], sizeof seen->all[0], "%s %s", name, strncmp(path, root, strlen(root)) ? path : path + strlen(root));
        seen->count++;
    }
    pthread_mutex_unlock(&seen->lock);
}

static void nap(int ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

static int fail(int line, const char *format, ...) {
    va_list arguments;
    int at = snprintf(why, sizeof why, "line %d: ", line);
    va_start(arguments, format);
    vsnprintf(why + at, sizeof why - at, format, arguments);
    va_end(arguments);
    return 0;
}

#define REQUIRE(holds)                                       \
    do {                                                     \
        if (!(holds)) return fail(__LINE__, "%s", #holds);   \
    } while (0)

#define ANSWER(wanted, call)                                                                                     \
    do {                                                                                                         \
        int rc_ = (call);                                                                                        \
        if (rc_ != (wanted)) return fail(__LINE__, "%s: %s, not %s", #call, zerror(rc_), zerror(wanted));         \
    } while (0)

#define EVENTUALLY(holds)                                                                          \
    do {                                                                                           \
        int left_ = PATIENCE * 50;                                                                 \
        while (!(holds) && left_-- > 0) nap(20);                                                   \
        if (left_ <= 0) return fail(__LINE__, "never came: %s", #holds);                           \
    } while (0)

/* Exactly these events, in this order, and no other soon after. */
static int told(struct seen *seen, int line, int count, ...) {
    va_list expected;
    for (int left = PATIENCE * 50; left > 0 && seen->count < count; left--) nap(20);
    nap(100);
    pthread_mutex_lock(&seen->lock);
    int right = seen->count == count;
    if (!right) fail(line, "%d event(s), not %d; the last: %s", seen->count, count, seen->count ? seen->all[seen->count - 1] : "none");
    va_start(expected, count);
    for (int i = 0; right && i < count; i++) {
        const char *one = va_arg(expected, const char *);
        right = strcmp(one, seen->all[i]) == 0;
        if (!right) fail(line, "event %d is '%s', not '%s'", i, seen->all[i], one);
    }
    va_end(expected);
    pthread_mutex_unlock(&seen->lock);
    return right;
}

#define TOLD(seen, ...)                                          \
    do {                                                         \
        if (!told((seen), __LINE__, __VA_ARGS__)) return 0;      \
    } while (0)

/* A connected handle, or none after a while. */
static zhandle_t *open_as(const clientid_t *id) {
    zhandle_t *zh = zookeeper_init(servers, saw, SESSION, id, NULL, 0);
    for (int left = PATIENCE * 50; zh && zoo_state(zh) != ZOO_CONNECTED_STATE && left > 0; left--) nap(20);
    return zh;
}

static char *at(char *buffer, const char *below) {
    snprintf(buffer, 160, "%s%s", root, below);
    return buffer;
}

static char a[160], b[160], made[200];
static struct Stat stat_;

static int create(zhandle_t *zh, const char *path, const char *data) {
    return zoo_create(zh, path, data, (int)strlen(data), &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, NULL, 0);
}

static int check_modes(zhandle_t *zh) {
    const int modes[] = {ZOO_PERSISTENT, ZOO_EPHEMERAL, ZOO_PERSISTENT_SEQUENTIAL, ZOO_EPHEMERAL_SEQUENTIAL, ZOO_CONTAINER};
    const int64_t me = zoo_client_id(zh)->client_id;
    ANSWER(ZOK, create(zh, at(a, "/modes"), ""));
    for (int i = 0; i < 5; i++) {
        char wanted[160];
        snprintf(wanted, sizeof wanted, "%s/modes/m%d-", root, i);
        ANSWER(ZOK, zoo_create2(zh, wanted, "data", 4, &ZOO_OPEN_ACL_UNSAFE, modes[i], made, sizeof made, &stat_));
        int sequential = i == 2 || i == 3, ephemeral = i == 1 || i == 3;
        REQUIRE(strncmp(made, wanted, strlen(wanted)) == 0 && strlen(made) == strlen(wanted) + (sequential ? 10 : 0));
        if (i < 4) REQUIRE(stat_.ephemeralOwner == (ephemeral ? me : 0));
        REQUIRE(stat_.dataLength == 4 && stat_.version == 0);
        strcat(made, "/child");
        ANSWER(ephemeral ? ZNOCHILDRENFOREPHEMERALS : ZOK, create(zh, made, ""));
    }
    ANSWER(ZOK, zoo_create2_ttl(zh, at(a, "/modes/ttl"), "t", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 60000, made, sizeof made, &stat_));
    ANSWER(ZOK, zoo_create_ttl(zh, at(a, "/modes/ttl-"), "t", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, 60000, made, sizeof made));
    REQUIRE(strlen(made) == strlen(a) + 10);
    ANSWER(ZBADARGUMENTS, zoo_create_ttl(zh, at(a, "/modes/bad"), "t", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, -1, NULL, 0));
    ANSWER(ZNODEEXISTS, create(zh, at(a, "/modes"), ""));
    ANSWER(ZNONODE, create(zh, at(a, "/none/child"), ""));
    return 1;
}

static int check_data(zhandle_t *zh) {
    static char large[1000000], read[1000000];
    int length = sizeof read;
    ANSWER(ZOK, create(zh, at(a, "/data"), "one"));
    ANSWER(ZOK, zoo_get(zh, a, 0, read, &length, &stat_));
    REQUIRE(length == 3 && memcmp(read, "one", 3) == 0 && stat_.version == 0 && stat_.czxid == stat_.mzxid);
    ANSWER(ZOK, zoo_set2(zh, a, "two!", 4, 0, &stat_));
    REQUIRE(stat_.version == 1 && stat_.dataLength == 4);
    ANSWER(ZBADVERSION, zoo_set(zh, a, "three", 5, 0));
    for (size_t i = 0; i < sizeof large; i++) large[i] = (char)(i * 31);
    ANSWER(ZOK, zoo_set(zh, a, large, sizeof large, -1));
    length = sizeof read;
    ANSWER(ZOK, zoo_get(zh, a, 0, read, &length, &stat_));
    REQUIRE(length == (int)sizeof large && memcmp(read, large, sizeof large) == 0);
    ANSWER(ZOK, zoo_set(zh, a, NULL, -1, -1));
    length = sizeof read;
    ANSWER(ZOK, zoo_get(zh, a, 0, read, &length, &stat_));
    REQUIRE(length == -1 && stat_.dataLength == 0);
    length = sizeof read;
    ANSWER(ZNONODE, zoo_get(zh, at(a, "/none"), 0, read, &length, &stat_));
    ANSWER(ZNONODE, zoo_exists(zh, a, 0, &stat_));
    return 1;
}

static int check_children(zhandle_t *zh) {
    struct String_vector names = {0, NULL};
    ANSWER(ZOK, create(zh, at(a, "/family"), ""));
    for (int i = 0; i < 20; i++)
        ANSWER(ZOK, zoo_create(zh, at(b, "/family/n-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, made, sizeof made));
    ANSWER(ZOK, zoo_get_children2(zh, a, 0, &names, &stat_));
    REQUIRE(names.count == 20 && stat_.numChildren == 20 && stat_.cversion == 20);
    deallocate_String_vector(&names);
    ANSWER(ZNOTEMPTY, zoo_delete(zh, a, -1));
    ANSWER(ZOK, zoo_delete(zh, at(b, "/family/n-0000000007"), 0));
    ANSWER(ZBADVERSION, zoo_delete(zh, at(b, "/family/n-0000000008"), 3));
    ANSWER(ZNONODE, zoo_delete(zh, at(b, "/family/n-0000000007"), -1));
    ANSWER(ZOK, zoo_get_children(zh, a, 0, &names));
    REQUIRE(names.count == 19);
    deallocate_String_vector(&names);
    return 1;
}

static int check_watches(zhandle_t *zh) {
    static struct seen exists = SEEN, data = SEEN, children = SEEN, again = SEEN;
    struct String_vector names = {0, NULL};
    char some[8];
    int length = sizeof some;
    ANSWER(ZNONODE, zoo_wexists(zh, at(a, "/watched"), saw, &exists, &stat_));
    ANSWER(ZOK, create(zh, a, "0"));
    TOLD(&exists, 1, "created /watched");
    ANSWER(ZOK, zoo_wget(zh, a, saw, &data, some, &length, &stat_));
    ANSWER(ZOK, zoo_wget_children(zh, a, saw, &children, &names));
    ANSWER(ZOK, create(zh, at(b, "/watched/child"), ""));
    TOLD(&children, 1, "child /watched");
    ANSWER(ZOK, zoo_set(zh, a, "1", 1, -1));
    ANSWER(ZOK, zoo_set(zh, a, "2", 1, -1));
    TOLD(&data, 1, "changed /watched");
    ANSWER(ZOK, zoo_wexists(zh, b, saw, &again, &stat_));
    ANSWER(ZOK, zoo_wget_children2(zh, b, saw, &again, &names, &stat_));
    ANSWER(ZOK, zoo_delete(zh, b, -1));
    EVENTUALLY(again.count >= 1);
    REQUIRE(strcmp(again.all[0], "deleted /watched/child") == 0);
    TOLD(&exists, 1, "created /watched");
    return 1;
}

static int check_removed_watches(zhandle_t *zh) {
    static struct seen data = SEEN;
    char some[8];
    int length = sizeof some;
    ANSWER(ZOK, create(zh, at(a, "/silent"), "0"));
    ANSWER(ZOK, zoo_wget(zh, a, saw, &data, some, &length, &stat_));
    ANSWER(ZOK, zoo_remove_watches(zh, a, ZWATCHTYPE_DATA, saw, &data, 0));
    ANSWER(ZOK, zoo_set(zh, a, "1", 1, -1));
    nap(200);
    for (int i = 0; i < data.count; i++) REQUIRE(strncmp(data.all[i], "changed", 7) != 0);
    ANSWER(ZNOWATCHER, zoo_remove_watches(zh, a, ZWATCHTYPE_DATA, saw, &data, 0));
    return 1;
}

static int check_multi(zhandle_t *zh) {
    zoo_op_t ops[5];
    zoo_op_result_t results[5];
    static char first[200], second[200];
    ANSWER(ZOK, create(zh, at(a, "/multi"), "0"));
    char child[160], sequential[160];
    at(child, "/multi/child");
    at(sequential, "/multi/n-");
    zoo_check_op_init(&ops[0], a, 0);
    zoo_create_op_init(&ops[1], child, "c", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, first, sizeof first);
    zoo_create_op_init(&ops[2], sequential, "s", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, second, sizeof second);
    zoo_set_op_init(&ops[3], a, "1", 1, 0, &stat_);
    zoo_delete_op_init(&ops[4], child, -1);
    ANSWER(ZOK, zoo_multi(zh, 5, ops, results));
    for (int i = 0; i < 5; i++) REQUIRE(results[i].err == ZOK);
    REQUIRE(strcmp(first, child) == 0 && strlen(second) == strlen(sequential) + 10 && stat_.version == 1);
    ANSWER(ZNONODE, zoo_exists(zh, child, 0, &stat_));
    zoo_set_op_init(&ops[0], a, "2", 1, -1, &stat_);
    zoo_check_op_init(&ops[1], a, 1);
    zoo_delete_op_init(&ops[2], child, -1);
    ANSWER(ZBADVERSION, zoo_multi(zh, 3, ops, results));
    REQUIRE(results[0].err == ZOK && results[1].err == ZBADVERSION && results[2].err == ZRUNTIMEINCONSISTENCY);
    ANSWER(ZOK, zoo_exists(zh, a, 0, &stat_));
    REQUIRE(stat_.version == 1);
    return 1;
}

static void synced(int rc, const char *value, const void *data) {
    (void)value;
    *(volatile int *)data = rc == ZOK ? 1 : -1;
}

/* Waits until this handle's server has all that was written anywhere. */
static int caught_up(zhandle_t *zh, const char *path) {
    static volatile int done;
    done = 0;
    int rc = zoo_async(zh, path, synced, (const void *)&done);
    for (int left = PATIENCE * 50; rc == ZOK && done == 0 && left > 0; left--) nap(20);
    return rc == ZOK && done != 1 ? ZOPERATIONTIMEOUT : rc;
}

static void authenticated(int rc, const void *data) {
    *(volatile int *)data = rc == ZOK ? 1 : -1;
}

static int check_acl(zhandle_t *zh) {
    static volatile int done;
    struct ACL_vector acl = {0, NULL};
    char some[8];
    int length = sizeof some;
    zhandle_t *friend = open_as(NULL);
    REQUIRE(friend && zoo_state(friend) == ZOO_CONNECTED_STATE);
    ANSWER(ZINVALIDACL, zoo_create(zh, at(a, "/secret"), "s", 1, &ZOO_CREATOR_ALL_ACL, ZOO_PERSISTENT, NULL, 0));
    ANSWER(ZOK, zoo_add_auth(friend, "digest", "u:p", 3, authenticated, (const void *)&done));
    EVENTUALLY(done == 1);
    ANSWER(ZOK, zoo_create(friend, a, "s", 1, &ZOO_CREATOR_ALL_ACL, ZOO_PERSISTENT, NULL, 0));
    ANSWER(ZOK, caught_up(zh, a));
    ANSWER(ZNOAUTH, zoo_get(zh, a, 0, some, &length, &stat_));
    ANSWER(ZNOAUTH, zoo_set(zh, a, "t", 1, -1));
    ANSWER(ZOK, zoo_get(friend, a, 0, some, &length, &stat_));
    ANSWER(ZOK, zoo_get_acl(friend, a, &acl, &stat_));
    REQUIRE(acl.count == 1 && strcmp(acl.data[0].id.scheme, "digest") == 0 && strncmp(acl.data[0].id.id, "u:", 2) == 0);
    REQUIRE(acl.data[0].perms == ZOO_PERM_ALL);
    deallocate_ACL_vector(&acl);
    ANSWER(ZBADVERSION, zoo_set_acl(friend, a, 5, &ZOO_OPEN_ACL_UNSAFE));
    ANSWER(ZOK, zoo_set_acl(friend, a, 0, &ZOO_OPEN_ACL_UNSAFE));
    zookeeper_close(friend);
    EVENTUALLY(zoo_set(zh, a, "t", 1, -1) == ZOK);
    return 1;
}

static int check_sync(zhandle_t *zh) {
    char some[8];
    zhandle_t *writer = open_as(NULL);
    REQUIRE(writer && zoo_state(writer) == ZOO_CONNECTED_STATE);
    ANSWER(ZOK, create(writer, at(a, "/synced"), "00"));
    for (int i = 1; i <= 20; i++) {
        char text[3];
        int length = sizeof some;
        snprintf(text, sizeof text, "%02d", i);
        ANSWER(ZOK, zoo_set(writer, a, text, 2, -1));
        ANSWER(ZOK, caught_up(zh, a));
        ANSWER(ZOK, zoo_get(zh, a, 0, some, &length, &stat_));
        REQUIRE(length == 2 && memcmp(some, text, 2) == 0);
    }
    zookeeper_close(writer);
    return 1;
}

static int check_ephemerals(zhandle_t *zh) {
    static struct seen gone = SEEN;
    zhandle_t *other = open_as(NULL);
    REQUIRE(other && zoo_state(other) == ZOO_CONNECTED_STATE);
    ANSWER(ZOK, zoo_create(other, at(a, "/ephemeral"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0));
    EVENTUALLY(zoo_wexists(zh, a, saw, &gone, &stat_) == ZOK);
    REQUIRE(stat_.ephemeralOwner == zoo_client_id(other)->client_id);
    zookeeper_close(other);
    EVENTUALLY(gone.count > 0);
    REQUIRE(strcmp(gone.all[gone.count - 1], "deleted /ephemeral") == 0);
    ANSWER(ZNONODE, zoo_exists(zh, a, 0, &stat_));
    return 1;
}

/* A second handle takes the session over; its ephemerals stay. */
static int check_session_moves(zhandle_t *zh) {
    zhandle_t *first = open_as(NULL);
    REQUIRE(first && zoo_state(first) == ZOO_CONNECTED_STATE);
    ANSWER(ZOK, zoo_create(first, at(a, "/moved"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0));
    clientid_t id = *zoo_client_id(first);
    zhandle_t *second = open_as(&id);
    REQUIRE(second && zoo_state(second) == ZOO_CONNECTED_STATE);
    REQUIRE(zoo_client_id(second)->client_id == id.client_id);
    EVENTUALLY(zoo_set(second, a, "2", 1, -1) == ZOK);
    /* Each takes it back from the other as fast as it can. Whichever has it now ends it; if neither has, it expires. */
    zookeeper_close(second);
    zookeeper_close(first);
    EVENTUALLY(zoo_exists(zh, a, 0, &stat_) == ZNONODE);
    return 1;
}

static int check_restart(zhandle_t *zh) {
    static struct seen data = SEEN;
    char some[8];
    int length = sizeof some, rc = ZCONNECTIONLOSS;
    int64_t id = zoo_client_id(zh)->client_id;
    ANSWER(ZOK, zoo_create(zh, at(a, "/restarted"), "0", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0));
    ANSWER(ZOK, zoo_wget(zh, a, saw, &data, some, &length, &stat_));
    if (system(getenv("RESTART")) != 0) return fail(__LINE__, "the server was not restarted");
    for (int i = 0; i < 2 * PATIENCE * 10 && (rc = zoo_exists(zh, a, 0, &stat_)) != ZOK; i++) nap(100);
    ANSWER(ZOK, rc);
    REQUIRE(stat_.ephemeralOwner == id && zoo_client_id(zh)->client_id == id);
    EVENTUALLY(zoo_set(zh, a, "1", 1, -1) == ZOK);
    TOLD(&data, 1, "changed /restarted");
    return 1;
}

static void check(const char *name, zhandle_t *zh, int (*body)(zhandle_t *)) {
    why[0] = 0;
    if (body(zh)) {
        passed++;
        printf("ok C client: %s\n", name);
    } else {
        failed++;
        printf("FAILED C client: %s: %s\n", name, why);
    }
    fflush(stdout);
}

int main(int count, char **arguments) {
    if (count < 2) return 2;
    servers = arguments[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(root, sizeof root, "/c-%lx-%d", (unsigned long)time(NULL), (int)getpid());
    zoo_set_debug_level(0);
    zhandle_t *zh = open_as(NULL);
    if (!zh || create(zh, root, "") != ZOK) {
        printf("FAILED C client: no connection to %s\n0 passed, 1 failed\n", servers);
        return 1;
    }
    check("create of every mode", zh, check_modes);
    check("data and versions", zh, check_data);
    check("children", zh, check_children);
    check("watches", zh, check_watches);
    check("removed watches", zh, check_removed_watches);
    check("multi", zh, check_multi);
    check("ACL and authentication", zh, check_acl);
    check("sync", zh, check_sync);
    check("ephemerals go with their session", zh, check_ephemerals);
    check("a session moves", zh, check_session_moves);
    if (getenv("RESTART")) check("a server that is killed is found again", zh, check_restart);
    zookeeper_close(zh);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
