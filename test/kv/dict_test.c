/* SPDX-License-Identifier: MIT */
/*
 * The table of keys: growth and shrinking without losing an entry, and the promise of the cursor,
 * that a scan visits every entry that is there from its beginning to its end.
 */
#include "kv_unit.h"

#include "dict.h"

static const uint64_t hash_key[2] = {UINT64_C(0x0123456789abcdef), UINT64_C(0xfedcba9876543210)};

static void add(struct kv_dict *d, unsigned n)
{
    struct kv_str key = unit_key(n);
    struct kv_entry *e = kv_entry_create(key, false, 0);

    assert_non_null(e);
    assert_true(kv_dict_insert(d, e, kv_dict_hash(d, key)));
}

static bool has(struct kv_dict *d, unsigned n)
{
    struct kv_str key = unit_key(n);
    struct kv_place at;

    if (!kv_dict_find(d, key, kv_dict_hash(d, key), &at))
        return false;
    assert_int_equal(unit_key_number(kv_place_entry(at)), n);
    return true;
}

static void take(struct kv_dict *d, unsigned n)
{
    struct kv_str key = unit_key(n);
    struct kv_place at;
    struct kv_entry *e;

    assert_true(kv_dict_find(d, key, kv_dict_hash(d, key), &at));
    e = kv_place_entry(at);
    kv_dict_remove(d, at);
    kv_entry_free(e);
}

static void empty(struct kv_dict *d)
{
    while (kv_dict_drain(d, 100, kv_entry_free)) {
    }
    assert_int_equal(kv_dict_bytes(d), 0);
}

static void test_dict_empty_finds_nothing(void **state)
{
    struct kv_dict d;

    (void)state;
    kv_dict_init(&d, hash_key);
    assert_false(has(&d, 1));
    assert_int_equal(kv_dict_scan(&d, 0, NULL, NULL), 0);
    assert_int_equal(kv_dict_bytes(&d), 0);
    empty(&d);
}

static void test_dict_growth_keeps_entries(void **state)
{
    const unsigned n = 200000;
    struct kv_dict d;

    (void)state;
    kv_dict_init(&d, hash_key);
    for (unsigned i = 0; i < n; i++) {
        add(&d, i);
        assert_true(has(&d, i / 2)); /* while it moves */
        assert_false(has(&d, i + 1));
    }
    assert_int_equal(d.count, n);
    for (unsigned i = 0; i < n; i++)
        assert_true(has(&d, i));
    empty(&d);
}

static void test_dict_shrinking_keeps_entries_frees_memory(void **state)
{
    const unsigned n = 200000, left = 100;
    struct kv_dict d;
    uint64_t full;

    (void)state;
    kv_dict_init(&d, hash_key);
    for (unsigned i = 0; i < n; i++)
        add(&d, i);
    full = kv_dict_bytes(&d);
    for (unsigned i = left; i < n; i++)
        take(&d, i);
    while (kv_dict_step(&d, 1000)) {
    }
    for (unsigned i = 0; i < left; i++)
        assert_true(has(&d, i));
    assert_false(has(&d, left));
    take(&d, 0); /* the table may need another round */
    while (kv_dict_step(&d, 1000)) {
    }
    assert_true(kv_dict_bytes(&d) < full / 100);
    empty(&d);
}

static void test_dict_step_bounded_moves_at_most_n(void **state)
{
    struct kv_dict d;
    unsigned i = 0, steps = 0;

    (void)state;
    kv_dict_init(&d, hash_key);
    while (!d.table[1].buckets)
        add(&d, i++);
    while (kv_dict_step(&d, 1))
        steps++;
    assert_int_equal(steps, 64 - 1);
    empty(&d);
}

static void test_dict_replaced_entry_found(void **state)
{
    struct kv_str key = unit_key(7);
    struct kv_entry *e;
    struct kv_place at;
    struct kv_dict d;

    (void)state;
    kv_dict_init(&d, hash_key);
    add(&d, 7);
    e = kv_entry_create(key, true, 10);
    assert_non_null(e);
    assert_true(kv_dict_find(&d, key, kv_dict_hash(&d, key), &at));
    kv_entry_free(kv_place_entry(at));
    kv_place_set(at, e);
    assert_true(kv_dict_find(&d, key, kv_dict_hash(&d, key), &at));
    assert_ptr_equal(kv_place_entry(at), e);
    empty(&d);
}

/* ---- scan --------------------------------------------------------------------------------- */

#define STABLE  5000 /* there from the first call to the last */
#define PASSING 40000

struct visits {
    unsigned char seen[STABLE + PASSING];
    unsigned calls;
    unsigned entries;
};

static void visit(struct kv_entry *e, void *arg)
{
    struct visits *v = arg;
    unsigned n = unit_key_number(e);

    assert_true(n < STABLE + PASSING);
    v->seen[n] = 1;
    v->entries++;
}

static void check_stable(const struct visits *v)
{
    for (unsigned i = 0; i < STABLE; i++)
        if (!v->seen[i])
            fail_msg("key %u was never visited in %u calls", i, v->calls);
}

static void test_scan_table_at_rest_each_once(void **state)
{
    struct visits v = {.calls = 0};
    struct kv_dict d;
    uint64_t cursor = 0;

    (void)state;
    kv_dict_init(&d, hash_key);
    for (unsigned i = 0; i < STABLE; i++)
        add(&d, i);
    do {
        cursor = kv_dict_scan(&d, cursor, visit, &v);
    } while (cursor);
    check_stable(&v);
    assert_int_equal(v.entries, STABLE);
    empty(&d);
}

/* Between two calls of a scan the table grows, or shrinks, or both, by `change` keys. */
static void scan_while_changing(uint64_t seed, int direction)
{
    static bool present[STABLE + PASSING];
    struct visits *v = calloc(1, sizeof(*v));
    struct kv_dict d;
    uint64_t cursor = 0;

    assert_non_null(v);
    memset(present, 0, sizeof(present));
    kv_dict_init(&d, hash_key);
    for (unsigned i = 0; i < STABLE; i++)
        add(&d, i);
    for (unsigned i = STABLE; direction < 0 && i < STABLE + PASSING; i++) {
        add(&d, i);
        present[i] = true;
    }
    do {
        unsigned changes = (unsigned)(unit_random(&seed) % 64);
        cursor = kv_dict_scan(&d, cursor, visit, v);
        v->calls++;
        while (changes-- > 0) {
            unsigned i = STABLE + (unsigned)(unit_random(&seed) % PASSING);
            if (present[i] && direction <= 0)
                take(&d, i);
            else if (!present[i] && direction >= 0)
                add(&d, i);
            else
                continue;
            present[i] = !present[i];
        }
        assert_true(v->calls < 1000000);
    } while (cursor);
    check_stable(v);
    free(v);
    empty(&d);
}

static void test_scan_growing_all_stable_visited(void **state)
{
    uint64_t seed = unit_seed("growing");

    (void)state;
    for (int i = 0; i < 20; i++)
        scan_while_changing(seed + (uint64_t)i, 1);
}

static void test_scan_shrinking_all_stable_visited(void **state)
{
    uint64_t seed = unit_seed("shrinking");

    (void)state;
    for (int i = 0; i < 20; i++)
        scan_while_changing(seed + (uint64_t)i, -1);
}

static void test_scan_churning_all_stable_visited(void **state)
{
    uint64_t seed = unit_seed("churning");

    (void)state;
    for (int i = 0; i < 20; i++)
        scan_while_changing(seed + (uint64_t)i, 0);
}

/* Whatever a client sends as a cursor, the scan goes on from somewhere and ends. */
static void test_scan_any_cursor_ends(void **state)
{
    uint64_t random = unit_seed("cursors");
    struct visits v = {.calls = 0};
    struct kv_dict d;

    (void)state;
    kv_dict_init(&d, hash_key);
    for (unsigned i = 0; i < STABLE; i++)
        add(&d, i);
    for (int i = 0; i < 100; i++) {
        uint64_t cursor = unit_random(&random);
        unsigned calls = 0;
        while (cursor && calls++ < 100000)
            cursor = kv_dict_scan(&d, cursor, visit, &v);
        assert_int_equal(cursor, 0);
    }
    empty(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dict_empty_finds_nothing),
        cmocka_unit_test(test_dict_growth_keeps_entries),
        cmocka_unit_test(test_dict_shrinking_keeps_entries_frees_memory),
        cmocka_unit_test(test_dict_step_bounded_moves_at_most_n),
        cmocka_unit_test(test_dict_replaced_entry_found),
        cmocka_unit_test(test_scan_table_at_rest_each_once),
        cmocka_unit_test(test_scan_growing_all_stable_visited),
        cmocka_unit_test(test_scan_shrinking_all_stable_visited),
        cmocka_unit_test(test_scan_churning_all_stable_visited),
        cmocka_unit_test(test_scan_any_cursor_ends),
    };

    return cmocka_run_group_tests_name("kv-dict", tests, NULL, NULL);
}
