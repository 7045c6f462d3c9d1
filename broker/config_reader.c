/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"

/*
 * A map of this file: the cursor and its one error - spaces and comments - words and quoted text -
 * values, items, sections (recursive descent, one function per rule of the grammar):
 *
 *     section := item*                       up to the end of the file, or `}`
 *     item    := key [`=` | `:`] value       then a line end, `;`, `,`, or the section's end
 *     value   := word | quoted | `{` section `}` | `[` [value (`,` value)* [`,`]] `]`
 */

typedef struct cursor {
    const uint8_t *pos;
    const uint8_t *end;
    uint32_t line;
    uint32_t depth;
    gv_config_syntax_error_t *error;
    bool failed;
} cursor_t;

#define AT_END (-1)

static GV_PRINTF(3, 4) void fail(cursor_t *c, uint32_t line, const char *format, ...)
{
    if (c->failed) {
        return;
    }
    c->failed = true;
    c->error->line = line;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(c->error->text, sizeof(c->error->text), format, arguments);
    va_end(arguments);
}

static int peek(const cursor_t *c)
{
    return c->pos < c->end ? *c->pos : AT_END;
}

static int advance(cursor_t *c)
{
    int character = peek(c);
    if (character != AT_END) {
        c->pos++;
        c->line += character == '\n' ? 1 : 0;
    }
    return character;
}

static bool accept(cursor_t *c, char expected)
{
    if (peek(c) != expected) {
        return false;
    }
    (void)advance(c);
    return true;
}

/* What stands at the cursor, for an error text. */
static const char *describe(const cursor_t *c, char out[16])
{
    int character = peek(c);
    if (character == AT_END) {
        return "the end of the file";
    }
    if (character == '\n' || character == '\r') {
        return "the end of the line";
    }
    char printable[8];
    uint8_t byte = (uint8_t)character;
    (void)snprintf(out, 16, "'%s'",
                   gv_bytes_printable(gv_bytes(&byte, 1), printable, sizeof(printable)));
    return out;
}

/* ---- spaces and comments ------------------------------------------------------------------ */

static void skip_block_comment(cursor_t *c)
{
    uint32_t opened = c->line;
    c->pos += 2;
    while (c->end - c->pos >= 2) {
        if (c->pos[0] == '*' && c->pos[1] == '/') {
            c->pos += 2;
            return;
        }
        (void)advance(c);
    }
    fail(c, opened, "the comment opened here is never closed; expected */");
}

static void skip_spaces(cursor_t *c, bool also_lines)
{
    while (!c->failed) {
        int character = peek(c);
        if (character == ' ' || character == '\t' || character == '\r' ||
            (also_lines && character == '\n')) {
            (void)advance(c);
        } else if (character == '#') {
            while (peek(c) != '\n' && peek(c) != AT_END) {
                (void)advance(c);
            }
        } else if (c->end - c->pos >= 2 && c->pos[0] == '/' && c->pos[1] == '*') {
            skip_block_comment(c);
        } else {
            return;
        }
    }
}

/* ---- words and quoted text ---------------------------------------------------------------- */

static void put_utf8(gv_text_t *out, uint32_t code)
{
    uint8_t bytes[3];
    size_t size = 0;
    if (code < 0x80) {
        bytes[size++] = (uint8_t)code;
    } else if (code < 0x800) {
        bytes[size++] = (uint8_t)(0xC0 | code >> 6);
        bytes[size++] = (uint8_t)(0x80 | (code & 0x3F));
    } else {
        bytes[size++] = (uint8_t)(0xE0 | code >> 12);
        bytes[size++] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        bytes[size++] = (uint8_t)(0x80 | (code & 0x3F));
    }
    gv_text_put(out, gv_bytes(bytes, size));
}

/* After \u.  Surrogate halves are refused: no key or value of ours is beyond the basic plane. */
static void read_unicode_escape(cursor_t *c, gv_text_t *out)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        int digit = advance(c);
        int value = digit >= '0' && digit <= '9'   ? digit - '0'
                    : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                    : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                                   : -1;
        if (value < 0) {
            fail(c, c->line, "\\u is not followed by four hexadecimal digits");
            return;
        }
        code = code << 4 | (uint32_t)value;
    }
    if (code == 0 || (code >= 0xD800 && code <= 0xDFFF)) {
        fail(c, c->line, "\\u%04X is not a character that may stand in a text", (unsigned)code);
        return;
    }
    put_utf8(out, code);
}

static void read_escape(cursor_t *c, gv_text_t *out)
{
    static const char from[] = "\"'\\/nrtbf";
    static const char to[] = "\"'\\/\n\r\t\b\f";
    _Static_assert(sizeof(from) == sizeof(to), "each escape has its character");
    int character = advance(c);
    if (character == 'u') {
        read_unicode_escape(c, out);
        return;
    }
    const char *found = character > 0 ? strchr(from, character) : NULL;
    if (found == NULL) {
        fail(c, c->line, "unknown escape after \\; expected one of \" ' \\ / n r t b f uXXXX");
        return;
    }
    gv_text_put(out, gv_bytes(&to[found - from], 1));
}

/* In double quotes \ escapes; in single quotes everything is itself. */
static char *read_quoted(cursor_t *c)
{
    uint32_t opened = c->line;
    int quote = advance(c);
    gv_text_t out = GV_TEXT_EMPTY;
    while (!c->failed && peek(c) != quote) {
        int character = peek(c);
        if (character == AT_END || character == '\n') {
            fail(c, opened, "the quote opened here is not closed on the same line; expected %c",
                 quote);
        } else if (character == '\0') {
            fail(c, c->line, "a NUL byte in a quoted text");
        } else if (character == '\\' && quote == '"') {
            (void)advance(c);
            read_escape(c, &out);
        } else {
            uint8_t byte = (uint8_t)advance(c);
            gv_text_put(&out, gv_bytes(&byte, 1));
        }
    }
    (void)advance(c);
    return gv_text_take(&out);
}

static bool is_key_character(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

static bool is_word_character(int c)
{
    return c > ' ' && c != 0x7F && strchr(";,{}[]\"'", c) == NULL;
}

static char *read_word(cursor_t *c, bool (*belongs)(int))
{
    const uint8_t *start = c->pos;
    while (peek(c) != AT_END && belongs(peek(c))) {
        (void)advance(c);
    }
    gv_text_t out = GV_TEXT_EMPTY;
    gv_text_put(&out, gv_bytes(start, (size_t)(c->pos - start)));
    return gv_text_take(&out);
}

/* ---- values, items, sections -------------------------------------------------------------- */

static void read_section(cursor_t *c, gv_config_node_t *section, int closing);

static gv_config_node_t *node_new(gv_config_node_kind_t kind, uint32_t line)
{
    gv_config_node_t *node = GV_NEW(gv_config_node_t);
    node->kind = kind;
    node->line = line;
    return node;
}

static gv_config_node_t *read_value(cursor_t *c);

/* After `[`. */
static void read_list(cursor_t *c, gv_config_node_t *list)
{
    gv_config_node_t **last = &list->first;
    skip_spaces(c, true);
    while (!c->failed && !accept(c, ']')) {
        if (peek(c) == AT_END) {
            fail(c, list->line, "the list opened here is never closed; expected ]");
            return;
        }
        *last = read_value(c);
        last = &(*last)->next;
        skip_spaces(c, true);
        if (!c->failed && !accept(c, ',') && peek(c) != ']' && peek(c) != AT_END) {
            char found[16];
            fail(c, c->line, "%s after a value of a list; expected , or ]", describe(c, found));
        }
        skip_spaces(c, true);
    }
}

static gv_config_node_t *read_value(cursor_t *c)
{
    int character = peek(c);
    uint32_t line = c->line;
    if (character == '{' || character == '[') {
        gv_config_node_t *node =
            node_new(character == '{' ? GV_CONFIG_SECTION : GV_CONFIG_LIST, line);
        (void)advance(c);
        if (++c->depth > GV_CONFIG_DEPTH_MAX) {
            fail(c, line, "sections and lists are nested more than %d deep", GV_CONFIG_DEPTH_MAX);
        } else if (character == '{') {
            read_section(c, node, '}');
        } else {
            read_list(c, node);
        }
        c->depth--;
        return node;
    }
    gv_config_node_t *node = node_new(GV_CONFIG_WORD, line);
    if (character == '"' || character == '\'') {
        node->text = read_quoted(c);
    } else {
        node->text = read_word(c, is_word_character);
        if (node->text[0] == '\0') {
            char found[16];
            fail(c, line, "%s where a value should be", describe(c, found));
        } else if (strchr(node->text, '#') != NULL) {
            fail(c, line, "# inside a word; write the text in \"quotes\", or a space before #");
        }
    }
    return node;
}

/* An item ends at a line end, `;`, `,`, or where its section ends. */
static void end_item(cursor_t *c, const char *key, int closing)
{
    skip_spaces(c, false);
    if (c->failed || accept(c, ';') || accept(c, ',') || accept(c, '\n') || peek(c) == closing) {
        return;
    }
    char found[16];
    fail(c, c->line, "%s: %s after the value; a text with spaces or signs needs \"quotes\"", key,
         describe(c, found));
}

static gv_config_node_t *read_item(cursor_t *c, int closing)
{
    char found[16];
    int character = peek(c);
    char *key =
        character == '"' || character == '\'' ? read_quoted(c) : read_word(c, is_key_character);
    if (key[0] == '\0') {
        fail(c, c->line, "%s where a key should be", describe(c, found));
    }
    uint32_t line = c->line;
    skip_spaces(c, false);
    if (accept(c, '=') || accept(c, ':')) {
        skip_spaces(c, false);
    }
    if (!c->failed && (peek(c) == '\n' || peek(c) == ';' || peek(c) == AT_END)) {
        fail(c, line, "%s: no value; expected KEY = VALUE", key);
    }
    gv_config_node_t *node = c->failed ? node_new(GV_CONFIG_WORD, line) : read_value(c);
    node->key = key;
    end_item(c, key, closing);
    return node;
}

static void read_section(cursor_t *c, gv_config_node_t *section, int closing)
{
    gv_config_node_t **last = &section->first;
    while (!c->failed) {
        skip_spaces(c, true);
        if (accept(c, ';') || accept(c, ',')) {
            continue;
        }
        if (peek(c) == closing) {
            (void)advance(c);
            return;
        }
        if (peek(c) == AT_END) {
            fail(c, section->line, "the section opened here is never closed; expected }");
            return;
        }
        *last = read_item(c, closing);
        last = &(*last)->next;
    }
}

gv_err_t gv_config_read(gv_bytes_t file, gv_config_node_t **root_out,
                        gv_config_syntax_error_t *error_out)
{
    GV_ASSERT(root_out != NULL);
    GV_ASSERT(error_out != NULL);
    *root_out = NULL;
    memset(error_out, 0, sizeof(*error_out));

    static const gv_bytes_t bom = {.data = (const uint8_t *)"\xEF\xBB\xBF", .size = 3};
    cursor_t c = {.pos = file.data, .end = file.data + file.size, .line = 1, .error = error_out};
    if (gv_bytes_has_prefix(file, bom)) {
        c.pos += bom.size;
    }
    gv_config_node_t *root = node_new(GV_CONFIG_SECTION, 1);
    if (file.size > GV_CONFIG_FILE_SIZE_MAX) {
        fail(&c, 1, "the file is larger than %zu KiB", GV_CONFIG_FILE_SIZE_MAX / 1024);
    }
    skip_spaces(&c, true);
    /* JSON: the whole file is one object. */
    if (accept(&c, '{')) {
        read_section(&c, root, '}');
        skip_spaces(&c, true);
        if (!c.failed && peek(&c) != AT_END) {
            fail(&c, c.line, "text after the closing }");
        }
    } else {
        read_section(&c, root, AT_END);
    }
    if (c.failed) {
        gv_config_node_free(&root);
        return GV_ERR_INVAL;
    }
    *root_out = root;
    return GV_OK;
}

void gv_config_node_free(gv_config_node_t **nodep)
{
    GV_ASSERT(nodep != NULL);
    gv_config_node_t *node = *nodep;
    *nodep = NULL;
    while (node != NULL) {
        gv_config_node_t *next = node->next;
        gv_config_node_free(&node->first);
        gv_free(node->key);
        gv_free(node->text);
        gv_free(node);
        node = next;
    }
}
