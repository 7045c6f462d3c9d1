/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_STORE

#include "storage/lmdb_verify_p.h"

#include <string.h>

#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"

#include "storage/keys.h"

/*
 * The file format of LMDB 0.9 on a 64-bit machine, in the machine's own byte order (LMDB files are
 * not portable between machines that differ in it, and LMDB says so as well).
 *
 * Parts of this file:
 *   format    what pages and nodes look like
 *   head      the two meta pages
 *   pages     reading, and which were seen
 *   leaves    values on pages of their own, tables, lists of free pages
 *   trees     branch by branch
 */

/* ---- format ---- */

/* One tree: a table, the table of tables, or the list of free pages. */
typedef struct tree {
    uint32_t page_size; /* in the free list's, and only in a meta page */
    uint16_t flags;
    uint16_t depth;
    uint64_t branch_pages;
    uint64_t leaf_pages;
    uint64_t overflow_pages;
    uint64_t records;
    uint64_t root; /* NO_PAGE: empty */
} tree_t;

typedef struct page_head {
    uint64_t number;
    uint16_t padding;
    uint16_t flags;
    uint16_t lower; /* end of the node pointers, which are u16 offsets; in an overflow page, */
    uint16_t upper; /* start of the nodes        lower and upper are a u32 count of pages   */
} page_head_t;

/* The first two pages; the one with the higher transaction is in force. */
typedef struct meta_page {
    page_head_t head;
    uint32_t magic;
    uint32_t version;
    uint64_t map_address;
    uint64_t map_size;
    tree_t free_list;
    tree_t main;
    uint64_t last_page;
    uint64_t transaction;
} meta_page_t;

typedef struct node_head {
    uint16_t low; /* size of the value: low and high; child page: low, high and flags */
    uint16_t high;
    uint16_t flags;
    uint16_t key_size;
} node_head_t;

_Static_assert(sizeof(tree_t) == 48, "no padding");
_Static_assert(sizeof(page_head_t) == 16, "no padding");
_Static_assert(sizeof(meta_page_t) == 152, "no padding");
_Static_assert(sizeof(node_head_t) == 8, "no padding");

#define PAGE_BRANCH   0x01U
#define PAGE_LEAF     0x02U
#define PAGE_OVERFLOW 0x04U
#define PAGE_META     0x08U
#define NODE_BIG      0x01U /* the value has pages of its own, the node their first number */
#define NODE_TABLE    0x02U /* the value is a tree_t */
#define NO_PAGE       UINT64_MAX
#define LMDB_MAGIC    0xBEEFC0DEU
#define LMDB_VERSION  1U
#define PAGE_SIZE_MIN 512U
#define PAGE_SIZE_MAX 65536U
#define DEPTH_MAX     32U /* LMDB's own */

typedef struct verifier {
    int fd;
    bool every_page;
    uint32_t page_size;
    uint64_t last_page;
    uint8_t *seen; /* a bit per page */
    gv__lmdb_fault_t *fault;
} verifier_t;

static gv_err_t corrupt(gv__lmdb_fault_t *fault, uint64_t page, const char *text)
{
    *fault = (gv__lmdb_fault_t){.text = text, .page = page};
    return GV_ERR_CORRUPT;
}

static gv_err_t damaged(const verifier_t *verifier, uint64_t page)
{
    return corrupt(verifier->fault, page, "is damaged");
}

/* GV_ERR_CORRUPT if the file ends before. */
static gv_err_t read_at(int fd, void *out, size_t size, uint64_t offset, gv__lmdb_fault_t *fault)
{
    ssize_t got = pread(fd, out, size, (off_t)offset);
    if (got < 0) {
        *fault = (gv__lmdb_fault_t){.text = "cannot be read"};
        return GV_ERR_IO;
    }
    return (size_t)got == size ? GV_OK : corrupt(fault, 0, "is truncated");
}

/* ---- head ---- */

static gv_err_t read_meta(int fd, uint64_t offset, uint64_t number, meta_page_t *meta,
                          gv__lmdb_fault_t *fault)
{
    gv_err_t err = read_at(fd, meta, sizeof(*meta), offset, fault);
    if (err != GV_OK) {
        return err;
    }
    if (meta->magic != LMDB_MAGIC || (meta->head.flags & PAGE_META) == 0 ||
        meta->head.number != number) {
        return corrupt(fault, 0, "is not an LMDB file, or its head is damaged");
    }
    if (meta->version != LMDB_VERSION) {
        *fault = (gv__lmdb_fault_t){.text = "is of another LMDB version"};
        return GV_ERR_VERSION;
    }
    uint32_t page_size = meta->free_list.page_size;
    if (page_size < PAGE_SIZE_MIN || page_size > PAGE_SIZE_MAX ||
        (page_size & (page_size - 1)) != 0) {
        return corrupt(fault, 0, "has a damaged head");
    }
    return GV_OK;
}

static gv_err_t read_head(int fd, meta_page_t *newest, gv__lmdb_fault_t *fault)
{
    meta_page_t metas[2];
    gv_err_t err = read_meta(fd, 0, 0, &metas[0], fault);
    if (err == GV_OK) {
        err = read_meta(fd, metas[0].free_list.page_size, 1, &metas[1], fault);
    }
    if (err != GV_OK) {
        return err;
    }
    *newest = metas[1].transaction > metas[0].transaction ? metas[1] : metas[0];
    /*
     * The writer keeps the file at least as long as its last page (writer.c), also where that page
     * was never written, so a shorter one has lost its end.
     */
    struct stat st;
    if (fstat(fd, &st) != 0) {
        *fault = (gv__lmdb_fault_t){.text = "cannot be read"};
        return GV_ERR_IO;
    }
    if (newest->last_page >= (uint64_t)st.st_size / newest->free_list.page_size) {
        return corrupt(fault, 0, "is truncated");
    }
    return GV_OK;
}

/* ---- pages ---- */

/* Notes that a page has its one use; false if it has another, or is none. */
static bool take_page(verifier_t *verifier, uint64_t page)
{
    if (page < 2 || page > verifier->last_page) {
        return false;
    }
    uint8_t bit = (uint8_t)(1U << page % 8);
    bool is_first = (verifier->seen[page / 8] & bit) == 0;
    verifier->seen[page / 8] |= bit;
    return is_first;
}

static uint64_t offset_of(const verifier_t *verifier, uint64_t page)
{
    return page * verifier->page_size;
}

/* The value's own pages: *offset_out is where its bytes begin. */
static gv_err_t check_overflow(verifier_t *verifier, uint64_t page, uint64_t value_size,
                               uint64_t *offset_out)
{
    page_head_t head;
    if (page > verifier->last_page) {
        return damaged(verifier, page);
    }
    gv_err_t err =
        read_at(verifier->fd, &head, sizeof(head), offset_of(verifier, page), verifier->fault);
    if (err != GV_OK) {
        return err;
    }
    uint64_t count = (uint64_t)head.upper << 16 | head.lower;
    if (head.number != page || head.flags != PAGE_OVERFLOW ||
        count * verifier->page_size < sizeof(head) + value_size) {
        return damaged(verifier, page);
    }
    for (uint64_t i = 0; i < count; i++) {
        if (!take_page(verifier, page + i)) {
            return damaged(verifier, page + i);
        }
    }
    *offset_out = offset_of(verifier, page) + sizeof(head);
    return GV_OK;
}

/* ---- leaves ---- */

typedef enum tree_kind {
    TREE_MAIN,      /* names of tables -> tables */
    TREE_TABLE,     /* what we keep */
    TREE_LOG,       /* the same, not read at the start: leaves are looked at on demand only */
    TREE_FREE_LIST, /* transaction -> the pages it has freed */
} tree_kind_t;

typedef struct leaf_node {
    gv_bytes_t key;
    gv_bytes_t data; /* the value, or the number of its first page */
    uint64_t value_size;
    uint64_t page; /* that it is on */
    uint16_t flags;
} leaf_node_t;

static gv_err_t check_tree(verifier_t *verifier, const tree_t *tree, tree_kind_t kind);

/* A list: how many, then the pages. */
static gv_err_t check_free_pages(verifier_t *verifier, const uint8_t *list, uint64_t size,
                                 uint64_t page)
{
    uint64_t count = 0;
    if (size >= sizeof(count)) {
        memcpy(&count, list, sizeof(count));
    }
    if (size < sizeof(count) || count > size / sizeof(uint64_t) - 1) {
        return damaged(verifier, page);
    }
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t free_page;
        memcpy(&free_page, list + i * sizeof(free_page), sizeof(free_page));
        if (!take_page(verifier, free_page)) {
            return damaged(verifier, page);
        }
    }
    return GV_OK;
}

static gv_err_t check_big_value(verifier_t *verifier, const leaf_node_t *node, tree_kind_t kind)
{
    uint64_t first;
    uint64_t offset = 0;
    memcpy(&first, node->data.data, sizeof(first));
    gv_err_t err = check_overflow(verifier, first, node->value_size, &offset);
    if (err != GV_OK || kind != TREE_FREE_LIST) {
        return err;
    }
    uint8_t *list = gv_try_alloc(node->value_size);
    if (list == NULL) {
        *verifier->fault = (gv__lmdb_fault_t){.text = "needs more memory to be checked"};
        return GV_ERR_NOMEM;
    }
    err = read_at(verifier->fd, list, node->value_size, offset, verifier->fault);
    if (err == GV_OK) {
        err = check_free_pages(verifier, list, node->value_size, first);
    }
    gv_free(list);
    return err;
}

/* A table in the table of tables: its kind is told by its name. */
static gv_err_t check_table(verifier_t *verifier, const leaf_node_t *node)
{
    tree_t tree;
    if (node->value_size != sizeof(tree)) {
        return damaged(verifier, node->page);
    }
    memcpy(&tree, node->data.data, sizeof(tree));
    bool is_log = gv_bytes_equal(node->key, gv_bytes_text(gv_table_name(GV_TABLE_OUTBOX)));
    return check_tree(verifier, &tree, is_log ? TREE_LOG : TREE_TABLE);
}

static gv_err_t check_leaf_node(verifier_t *verifier, const leaf_node_t *node, tree_kind_t kind)
{
    if (node->key.size == 0 || node->key.size > GV_KEY_SIZE_MAX) {
        return damaged(verifier, node->page);
    }
    switch (node->flags) {
    case NODE_BIG:
        return check_big_value(verifier, node, kind);
    case NODE_TABLE:
        return kind == TREE_MAIN ? check_table(verifier, node) : damaged(verifier, node->page);
    case 0:
        break;
    default:
        return damaged(verifier, node->page);
    }
    if (kind == TREE_FREE_LIST) {
        return check_free_pages(verifier, node->data.data, node->value_size, node->page);
    }
    return GV_OK;
}

/* ---- trees ---- */

static gv_err_t check_page(verifier_t *verifier, tree_kind_t kind, uint64_t page, uint32_t levels);

/*
 * One node of a page that is in memory: its bytes must lie within the page.  *size_out is what it
 * takes up there.
 */
static gv_err_t check_node(verifier_t *verifier, tree_kind_t kind, gv_bytes_t page, uint64_t number,
                           size_t offset, uint32_t levels, size_t *size_out)
{
    node_head_t head;
    gv_reader_t r = gv_reader(page);
    (void)gv_reader_take(&r, offset);
    gv_bytes_t head_bytes = gv_reader_take(&r, sizeof(head));
    if (r.failed || offset % 2 != 0) {
        return damaged(verifier, number);
    }
    memcpy(&head, head_bytes.data, sizeof(head));
    uint64_t low = (uint64_t)head.high << 16 | head.low;
    bool is_branch = levels > 1;
    bool is_big = !is_branch && head.flags == NODE_BIG;
    size_t data_size = is_branch ? 0 : is_big ? sizeof(uint64_t) : low;
    gv_bytes_t key = gv_reader_take(&r, head.key_size);
    gv_bytes_t data = gv_reader_take(&r, data_size);
    if (r.failed) {
        return damaged(verifier, number);
    }
    size_t size = sizeof(head) + key.size + data.size;
    *size_out = size + size % 2;
    if (is_branch) {
        return check_page(verifier, kind, (uint64_t)head.flags << 32 | low, levels - 1);
    }
    leaf_node_t node = {
        .key = key, .data = data, .value_size = low, .page = number, .flags = head.flags};
    return check_leaf_node(verifier, &node, kind);
}

static gv_err_t check_nodes(verifier_t *verifier, tree_kind_t kind, gv_bytes_t page,
                            uint64_t number, uint32_t levels)
{
    page_head_t head;
    memcpy(&head, page.data, sizeof(head));
    unsigned flags = levels > 1 ? PAGE_BRANCH : PAGE_LEAF;
    /* LMDB itself excepts the free list: a branch there may be left with one child. */
    size_t count_min = levels > 1 && kind != TREE_FREE_LIST ? 2 : 1;
    if (head.number != number || head.flags != flags || head.lower < sizeof(head) ||
        head.lower > head.upper || head.upper > page.size || head.lower % 2 != 0) {
        return damaged(verifier, number);
    }
    size_t count = (head.lower - sizeof(head)) / sizeof(uint16_t);
    if (count < count_min) {
        return damaged(verifier, number);
    }
    size_t nodes_size = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t offset;
        memcpy(&offset, page.data + sizeof(head) + i * sizeof(offset), sizeof(offset));
        size_t size = 0;
        gv_err_t err = offset < head.upper
                           ? damaged(verifier, number)
                           : check_node(verifier, kind, page, number, offset, levels, &size);
        if (err != GV_OK) {
            return err;
        }
        nodes_size += size;
    }
    /* The nodes fill the page to its end without gaps, so they do not overlap either. */
    return nodes_size == page.size - head.upper ? GV_OK : damaged(verifier, number);
}

/* A page and what hangs on it; `levels` counts down to 1 at the leaves. */
static gv_err_t check_page(verifier_t *verifier, tree_kind_t kind, uint64_t page, uint32_t levels)
{
    if (!take_page(verifier, page)) {
        return damaged(verifier, page);
    }
    if (levels == 1 && kind == TREE_LOG && !verifier->every_page) {
        return GV_OK;
    }
    uint8_t *bytes = gv_xalloc(verifier->page_size);
    gv_err_t err = read_at(verifier->fd, bytes, verifier->page_size, offset_of(verifier, page),
                           verifier->fault);
    if (err == GV_OK) {
        err = check_nodes(verifier, kind, gv_bytes(bytes, verifier->page_size), page, levels);
    }
    gv_free(bytes);
    return err;
}

static gv_err_t check_tree(verifier_t *verifier, const tree_t *tree, tree_kind_t kind)
{
    if (tree->root == NO_PAGE) {
        return tree->depth == 0 ? GV_OK : damaged(verifier, 0);
    }
    if (tree->depth == 0 || tree->depth > DEPTH_MAX) {
        return damaged(verifier, tree->root);
    }
    return check_page(verifier, kind, tree->root, tree->depth);
}

gv_err_t gv__lmdb_verify(int fd, bool every_page, gv__lmdb_fault_t *fault_out)
{
    GV_ASSERT(fault_out != NULL);
    *fault_out = (gv__lmdb_fault_t){.text = "is intact"};
    meta_page_t meta;
    gv_err_t err = read_head(fd, &meta, fault_out);
    if (err != GV_OK) {
        return err;
    }
    verifier_t verifier = {
        .fd = fd,
        .every_page = every_page,
        .page_size = meta.free_list.page_size,
        .last_page = meta.last_page,
        .seen = gv_xcalloc(meta.last_page / 8 + 1, 1), /* the file is as long: no wild number */
        .fault = fault_out,
    };
    err = check_tree(&verifier, &meta.main, TREE_MAIN);
    if (err == GV_OK) {
        /* Second: a page that is free and used is found when it is listed. */
        err = check_tree(&verifier, &meta.free_list, TREE_FREE_LIST);
    }
    gv_free(verifier.seen);
    return err;
}
