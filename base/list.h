/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Intrusive doubly linked list: the link lives in the element, so that linking never allocates and
 * an element can leave from the middle in O(1).
 *
 *     gv_list_t waiting;                 the head; gv_list_init() before use
 *     struct thing { gv_link_t link; };  the element; gv_link_init() or zeroed before use
 *
 * An element is in at most one list per link.  Threads: the owner of the list.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/defs.h"

typedef struct gv_link {
    struct gv_link *_next; /* NULL while not linked */
    struct gv_link *_prev;
} gv_link_t;

typedef struct gv_list {
    gv_link_t _head;
} gv_list_t;

static inline void gv_list_init(gv_list_t *list)
{
    list->_head._next = &list->_head;
    list->_head._prev = &list->_head;
}

static inline void gv_link_init(gv_link_t *link)
{
    link->_next = NULL;
    link->_prev = NULL;
}

static inline bool gv_link_is_linked(const gv_link_t *link)
{
    return link->_next != NULL;
}

static inline bool gv_list_is_empty(const gv_list_t *list)
{
    return list->_head._next == &list->_head;
}

static inline void gv__link_between(gv_link_t *link, gv_link_t *prev, gv_link_t *next)
{
    GV_DEBUG_ASSERT(link->_next == NULL);
    link->_prev = prev;
    link->_next = next;
    prev->_next = link;
    next->_prev = link;
}

static inline void gv_list_append(gv_list_t *list, gv_link_t *link)
{
    gv__link_between(link, list->_head._prev, &list->_head);
}

static inline void gv_list_prepend(gv_list_t *list, gv_link_t *link)
{
    gv__link_between(link, &list->_head, list->_head._next);
}

/* Leaves its list; an element that is in none stays as it is. */
static inline void gv_list_remove(gv_link_t *link)
{
    if (link->_next == NULL) {
        return;
    }
    link->_prev->_next = link->_next;
    link->_next->_prev = link->_prev;
    gv_link_init(link);
}

/* The first element's link, or NULL. */
static inline gv_link_t *gv_list_first(const gv_list_t *list)
{
    return gv_list_is_empty(list) ? NULL : list->_head._next;
}

/* Takes the first element out; NULL when empty. */
static inline gv_link_t *gv_list_take_first(gv_list_t *list)
{
    gv_link_t *link = gv_list_first(list);
    if (link != NULL) {
        gv_list_remove(link);
    }
    return link;
}

/* The element after `link`, or NULL at the end. */
static inline gv_link_t *gv_list_next(const gv_list_t *list, const gv_link_t *link)
{
    return link->_next == &list->_head ? NULL : link->_next;
}

/* Moves all elements of `from` to the end of `to`; `from` is empty afterwards. */
static inline void gv_list_splice(gv_list_t *to, gv_list_t *from)
{
    if (gv_list_is_empty(from)) {
        return;
    }
    from->_head._next->_prev = to->_head._prev;
    to->_head._prev->_next = from->_head._next;
    from->_head._prev->_next = &to->_head;
    to->_head._prev = from->_head._prev;
    gv_list_init(from);
}

/* Walks the links; the body must not unlink anything. */
#define gv_list_foreach(list, link) \
    for (gv_link_t *link = gv_list_first(list); link != NULL; link = gv_list_next(list, link))

/* Walks the links; the body may unlink (and free) the current one. */
#define gv_list_foreach_safe(list, link)                                          \
    for (gv_link_t *link = gv_list_first(list),                                   \
                   *link##_next = link != NULL ? gv_list_next(list, link) : NULL; \
         link != NULL;                                                            \
         link = link##_next, link##_next = link != NULL ? gv_list_next(list, link) : NULL)
