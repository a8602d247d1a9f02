/* SPDX-License-Identifier: MIT */
/*
 * The keyspace: values of all forms, expiry by a clock that the test sets, and a long random run
 * against a model that is a plain array.
 */
#include "kv_unit.h"

#include "db.h"

static const uint64_t seed_words[2] = {1, 2};

static void start(struct kv_db *db)
{
    kv_db_init(db, seed_words);
    db->now_ms = 1000;
}

static void stop(struct kv_db *db)
{
    kv_db_flush(db);
    while (kv_db_step(db)) {
    }
    assert_int_equal(kv_db_bytes(db), 0);
}

static void set(struct kv_db *db, const char *key, const char *value, int64_t when_ms)
{
    struct kv_value v = {.bytes = unit_str(value)};

    assert_true(kv_db_set(db, unit_str(key), &v, when_ms));
}

static void must_hold(struct kv_db *db, const char *key, const char *want)
{
    struct kv_entry *e = kv_db_find(db, unit_str(key));

    if (!want) {
        assert_null(e);
        return;
    }
    assert_non_null(e);
    assert_int_equal(e->value_len, strlen(want));
    assert_memory_equal(kv_entry_value(e), want, strlen(want));
}

static int64_t expiry_of(struct kv_db *db, const char *key)
{
    struct kv_entry *e = kv_db_find(db, unit_str(key));

    assert_non_null(e);
    return kv_entry_expires(e) ? kv_entry_ttl(e)->when_ms : KV_EXPIRE_NEVER;
}

static char *long_text(size_t len, char fill)
{
    char *text = malloc(len + 1);

    if (!text)
        abort();
    memset(text, fill, len);
    text[len] = '\0';
    return text;
}

static void test_set_again_value_replaced(void **state)
{
    struct kv_db db;

    (void)state;
    start(&db);
    set(&db, "k", "one", KV_EXPIRE_NEVER);
    set(&db, "k", "other", KV_EXPIRE_NEVER);
    must_hold(&db, "k", "other");
    set(&db, "k", "", KV_EXPIRE_NEVER);
    must_hold(&db, "k", "");
    assert_int_equal(db.dict.count, 1);
    assert_true(kv_db_delete(&db, unit_str("k")));
    assert_false(kv_db_delete(&db, unit_str("k")));
    must_hold(&db, "k", NULL);
    stop(&db);
}

static void test_set_sizes_across_forms_value_kept(void **state)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 1000, KV_BLOB_MIN - 1, KV_BLOB_MIN, 200000};
    const size_t n = sizeof(sizes) / sizeof(sizes[0]);
    struct kv_db db;

    (void)state;
    start(&db);
    for (size_t i = 0; i < n * n; i++) {
        char *from = long_text(sizes[i / n], 'a'), *to = long_text(sizes[i % n], 'b');
        set(&db, "k", from, KV_EXPIRE_NEVER);
        must_hold(&db, "k", from);
        set(&db, "k", to, 5000);
        must_hold(&db, "k", to);
        set(&db, "k", from, KV_EXPIRE_KEEP);
        must_hold(&db, "k", from);
        assert_int_equal(expiry_of(&db, "k"), 5000);
        set(&db, "k", to, KV_EXPIRE_NEVER);
        assert_true(expiry_of(&db, "k") == KV_EXPIRE_NEVER);
        free(from);
        free(to);
    }
    stop(&db);
}

/* Stores a bulk string that was received with `others` more bytes; whether it was shared. */
static bool shares(uint32_t len, uint32_t others)
{
    demi_sgarray_t sga = demi_sgaalloc(len + others + 32);
    char *p = sga.sga_segs[0].sgaseg_buf;
    int header = sprintf(p, "$%u\r\n", len);
    struct kv_value v = {.bytes = {p + header, len}, .sga = &sga};
    struct kv_entry *e;
    struct kv_db db;
    bool shared;

    start(&db);
    v.received = (uint32_t)header + len + 2 + others;
    memset(p + header, 'v', len);
    memcpy(p + header + len, "\r\n", 2);
    assert_true(kv_db_set(&db, unit_str("k"), &v, KV_EXPIRE_NEVER));
    e = kv_db_find(&db, unit_str("k"));
    shared = kv_entry_value(e) == p + header;
    demi_sgafree(&sga);
    assert_int_equal(kv_entry_value(e)[len - 1], 'v');
    stop(&db);
    return shared;
}

static void test_set_received_shared_only_when_half(void **state)
{
    (void)state;
    assert_true(shares(40000, 0));
    assert_true(shares(40000, 30000));
    assert_false(shares(40000, 50000));
    assert_false(shares(KV_BLOB_MIN - 1, 0));
}

static void test_append_grows_any_form(void **state)
{
    size_t total = 0;
    char *want = long_text(3 << 20, 'z');
    struct kv_db db;

    (void)state;
    start(&db);
    for (size_t piece = 1; total + piece < 3 << 20; piece += piece / 3 + 1) {
        struct kv_str tail = {want, (uint32_t)piece};
        total += piece;
        assert_int_equal(kv_db_append(&db, unit_str("k"), tail), total);
    }
    want[total] = '\0';
    must_hold(&db, "k", want);
    set(&db, "wire", want, 9000); /* a value that arrived in one piece, with an expiry */
    want[total - 1] = 'y';
    assert_int_equal(kv_db_append(&db, unit_str("wire"), (struct kv_str){want, 1}), total + 1);
    assert_int_equal(expiry_of(&db, "wire"), 9000);
    free(want);
    stop(&db);
}

/* Bytes on their way out must not change: appending may write behind them only. */
static void test_append_bytes_in_flight_untouched(void **state)
{
    char *text = long_text(KV_BLOB_MIN, 'a');
    struct kv_entry *e;
    const char *data;
    struct kv_db db;

    (void)state;
    start(&db);
    set(&db, "k", text, KV_EXPIRE_NEVER);
    kv_db_append(&db, unit_str("k"), unit_str("b"));
    e = kv_db_find(&db, unit_str("k"));
    data = kv_entry_value(e);
    kv_db_append(&db, unit_str("k"), unit_str("cc"));
    assert_ptr_equal(kv_entry_value(e), data); /* there was room */
    assert_memory_equal(data + KV_BLOB_MIN, "bcc", 3);
    free(text);
    stop(&db);
}

/* ---- expiry ------------------------------------------------------------------------------- */

static void test_expiry_reached_key_gone(void **state)
{
    struct kv_db db;

    (void)state;
    start(&db);
    set(&db, "k", "v", 2000);
    db.now_ms = 1999;
    must_hold(&db, "k", "v");
    db.now_ms = 2000;
    must_hold(&db, "k", NULL);
    assert_int_equal(db.dict.count, 0);
    assert_int_equal(db.expired, 1);
    stop(&db);
}

static void test_expiry_nobody_asks_removed_in_order(void **state)
{
    struct kv_db db;

    (void)state;
    start(&db);
    for (unsigned i = 0; i < 1000; i++) {
        struct kv_value v = {.bytes = unit_str("v")};
        assert_true(kv_db_set(&db, unit_key(i), &v, 2000 + (i * 7919) % 1000));
    }
    assert_int_equal(kv_expiry_next_ms(&db.expiry), 2000);
    db.now_ms = 2499;
    assert_true(kv_db_expire(&db, 100));
    assert_int_equal(db.dict.count, 900);
    assert_false(kv_db_expire(&db, 1000));
    assert_int_equal(db.dict.count, 500);
    assert_int_equal(kv_expiry_next_ms(&db.expiry), 2500);
    stop(&db);
}

static void test_expiry_set_changed_cleared(void **state)
{
    struct kv_db db;

    (void)state;
    start(&db);
    set(&db, "k", "value", KV_EXPIRE_NEVER);
    assert_true(kv_db_expire_at(&db, unit_str("k"), 5000));
    assert_int_equal(expiry_of(&db, "k"), 5000);
    assert_true(kv_db_expire_at(&db, unit_str("k"), 3000));
    assert_int_equal(kv_expiry_next_ms(&db.expiry), 3000);
    assert_true(kv_db_expire_at(&db, unit_str("k"), 7000));
    assert_int_equal(kv_expiry_next_ms(&db.expiry), 7000);
    assert_true(kv_db_expire_at(&db, unit_str("k"), KV_EXPIRE_NEVER));
    assert_null(kv_expiry_first(&db.expiry));
    must_hold(&db, "k", "value");
    stop(&db);
}

static void test_expiry_of_blob_value_kept(void **state)
{
    char *text = long_text(100000, 'b');
    struct kv_db db;

    (void)state;
    start(&db);
    set(&db, "k", text, KV_EXPIRE_NEVER);
    assert_true(kv_db_expire_at(&db, unit_str("k"), 5000));
    must_hold(&db, "k", text);
    db.now_ms = 5000;
    must_hold(&db, "k", NULL);
    free(text);
    stop(&db);
}

static void check_heap(const struct kv_expiry *x)
{
    for (uint32_t i = 0; i < x->count; i++) {
        const struct kv_ttl *ttl = kv_entry_ttl(x->items[i].entry);
        assert_int_equal(ttl->slot, i);
        assert_int_equal(ttl->when_ms, x->items[i].when_ms);
        assert_true(i == 0 || x->items[(i - 1) / 4].when_ms <= x->items[i].when_ms);
    }
}

static void test_flush_everything_gone_memory_freed_later(void **state)
{
    struct kv_db db;

    (void)state;
    start(&db);
    for (unsigned i = 0; i < 20000; i++) {
        struct kv_value v = {.bytes = unit_str("v")};
        assert_true(kv_db_set(&db, unit_key(i), &v, i % 2 ? 9000 : KV_EXPIRE_NEVER));
    }
    kv_db_flush(&db);
    assert_int_equal(db.dict.count, 0);
    assert_int_equal(kv_db_bytes(&db), 0);
    assert_null(kv_expiry_first(&db.expiry));
    set(&db, "k", "new", 9000); /* while the old ones are being freed */
    assert_true(kv_db_step(&db));
    must_hold(&db, "k", "new");
    while (kv_db_step(&db)) {
    }
    must_hold(&db, "k", "new");
    stop(&db);
}

/* ---- a random run against a model --------------------------------------------------------- */

#define KEYS 500

struct model {
    bool there;
    uint32_t len;
    int64_t when;
};

/* Values are made of a letter that depends on the key; their length tells versions apart. */
static uint32_t random_len(uint64_t *random)
{
    uint64_t r = unit_random(random);

    return r % 50 == 0 ? KV_BLOB_MIN + (uint32_t)(r >> 32) % 5000 : (uint32_t)(r >> 32) % 200;
}

static void random_change(struct kv_db *db, struct model *m, unsigned n, const char *fill,
                          uint64_t *random)
{
    struct kv_str key = unit_key(n);
    uint32_t len = random_len(random);
    int64_t when = db->now_ms + 1 + (int64_t)(unit_random(random) % 3000);
    struct kv_value v = {.bytes = {fill, len}};

    switch (unit_random(random) % 6) {
    case 0:
        when = unit_random(random) % 2 ? when : KV_EXPIRE_NEVER;
        assert_true(kv_db_set(db, key, &v, when));
        *m = (struct model){true, len, when};
        break;
    case 1:
        assert_true(kv_db_set(db, key, &v, KV_EXPIRE_KEEP));
        *m = (struct model){true, len, m->there ? m->when : KV_EXPIRE_NEVER};
        break;
    case 2:
        assert_int_equal(kv_db_delete(db, key), m->there);
        m->there = false;
        break;
    case 3:
        assert_true(kv_db_expire_at(db, key, when));
        m->when = when;
        break;
    case 4:
        assert_true(kv_db_expire_at(db, key, KV_EXPIRE_NEVER));
        m->when = KV_EXPIRE_NEVER;
        break;
    default:
        m->len = (m->there ? m->len : 0) + len;
        m->when = m->there ? m->when : KV_EXPIRE_NEVER;
        m->there = true;
        assert_int_equal(kv_db_append(db, key, v.bytes), m->len);
    }
}

static void check_key(struct kv_db *db, const struct model *m, unsigned n)
{
    struct kv_entry *e = kv_db_find(db, unit_key(n));

    assert_int_equal(e != NULL, m->there);
    if (!e)
        return;
    assert_int_equal(e->value_len, m->len);
    assert_true(m->len == 0 || kv_entry_value(e)[m->len - 1] == 'f');
    assert_true((kv_entry_expires(e) ? kv_entry_ttl(e)->when_ms : KV_EXPIRE_NEVER) == m->when);
}

static void test_db_random_run_agrees_with_model(void **state)
{
    static struct model models[KEYS];
    uint64_t random = unit_seed("db");
    char *fill = long_text(KV_BLOB_MIN + 5000, 'f');
    struct kv_db db;

    (void)state;
    start(&db);
    for (int i = 0; i < 200000; i++) {
        unsigned n = (unsigned)(unit_random(&random) % KEYS);
        db.now_ms += (int64_t)(unit_random(&random) % 3);
        if (models[n].there && models[n].when <= db.now_ms)
            models[n].there = false;
        random_change(&db, &models[n], n, fill, &random);
        check_key(&db, &models[n], n);
        if (i % 5000 == 0) {
            check_heap(&db.expiry);
            kv_db_expire(&db, 1000);
        }
    }
    free(fill);
    stop(&db);
}

/* Does to another keyspace what was told of the first; time stands still there. */
static void follow(void *arg, enum kv_change what, struct kv_str key, struct kv_str value,
                   int64_t when_ms)
{
    struct kv_db *db = arg;
    struct kv_value v = {.bytes = value};

    if (what == KV_CHANGE_SET)
        assert_true(kv_db_set(db, key, &v, when_ms));
    else if (what == KV_CHANGE_APPEND)
        assert_true(kv_db_append(db, key, value) >= 0);
    else if (what == KV_CHANGE_EXPIRE)
        assert_true(kv_db_expire_at(db, key, when_ms));
    else if (what == KV_CHANGE_DELETE)
        kv_db_delete(db, key);
    else
        kv_db_flush(db);
}

static void test_changes_that_are_told_make_the_same_keyspace(void **state)
{
    static struct model models[KEYS];
    uint64_t random = unit_seed("changes");
    char *fill = long_text(KV_BLOB_MIN + 5000, 'f');
    struct kv_db db, other;

    (void)state;
    start(&db);
    start(&other);
    other.now_ms = INT64_MIN;
    db.changed = follow;
    db.changed_arg = &other;
    for (int i = 0; i < 50000; i++) {
        unsigned n = (unsigned)(unit_random(&random) % KEYS);
        db.now_ms += (int64_t)(unit_random(&random) % 3);
        if (models[n].there && models[n].when <= db.now_ms)
            models[n].there = false;
        random_change(&db, &models[n], n, fill, &random);
        if (i == 25000) {
            kv_db_flush(&db);
            memset(models, 0, sizeof(models));
        }
    }
    other.now_ms = db.now_ms;
    for (unsigned n = 0; n < KEYS; n++) {
        if (models[n].when <= db.now_ms)
            models[n].there = false;
        check_key(&db, &models[n], n);
        check_key(&other, &models[n], n);
    }
    free(fill);
    db.changed = NULL;
    stop(&db);
    stop(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_again_value_replaced),
        cmocka_unit_test(test_set_sizes_across_forms_value_kept),
        cmocka_unit_test(test_set_received_shared_only_when_half),
        cmocka_unit_test(test_append_grows_any_form),
        cmocka_unit_test(test_append_bytes_in_flight_untouched),
        cmocka_unit_test(test_expiry_reached_key_gone),
        cmocka_unit_test(test_expiry_nobody_asks_removed_in_order),
        cmocka_unit_test(test_expiry_set_changed_cleared),
        cmocka_unit_test(test_expiry_of_blob_value_kept),
        cmocka_unit_test(test_flush_everything_gone_memory_freed_later),
        cmocka_unit_test(test_db_random_run_agrees_with_model),
        cmocka_unit_test(test_changes_that_are_told_make_the_same_keyspace),
    };

    return cmocka_run_group_tests_name("kv-db", tests, unit_start_library, unit_stop_library);
}
