/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/proxy/proxy.h"

#include <arpa/inet.h>
#include <string.h>

/* ---- version 1 ------------------------------------------------------------------------------ */

/* The longest line the specification allows, with its CRLF. */
#define V1_LINE_MAX ((size_t)107)

#define V1_SIGNATURE GV_BYTES_LITERAL("PROXY ")

/* The next word of a line: what stands before the next space, which is skipped, or the end. */
static gv_bytes_t take_word(gv_bytes_t *line)
{
    size_t size = 0;
    while (size < line->size && line->data[size] != ' ') {
        size++;
    }
    gv_bytes_t word = gv_bytes(line->data, size);
    size_t skipped = size < line->size ? size + 1 : size;
    *line = gv_bytes(line->data + skipped, line->size - skipped);
    return word;
}

/* Decimal digits without a leading zero, at most 65535. */
static gv_err_t read_port(gv_bytes_t word, uint16_t *port_out)
{
    uint32_t port = 0;
    if (word.size == 0 || word.size > 5 || (word.size > 1 && word.data[0] == '0')) {
        return GV_ERR_MALFORMED;
    }
    for (size_t i = 0; i < word.size; i++) {
        if (word.data[i] < '0' || word.data[i] > '9') {
            return GV_ERR_MALFORMED;
        }
        port = port * 10 + (uint32_t)(word.data[i] - '0');
    }
    *port_out = (uint16_t)port;
    return port <= UINT16_MAX ? GV_OK : GV_ERR_MALFORMED;
}

static gv_err_t read_address(gv_bytes_t word, int family, uint8_t *address_out)
{
    char text[INET6_ADDRSTRLEN];
    if (word.size >= sizeof(text) || memchr(word.data, '\0', word.size) != NULL) {
        return GV_ERR_MALFORMED;
    }
    memcpy(text, word.data, word.size);
    text[word.size] = '\0';
    return inet_pton(family, text, address_out) == 1 ? GV_OK : GV_ERR_MALFORMED;
}

/* "TCP4 CLIENT SERVER PORT PORT", after "PROXY ". */
static gv_err_t read_v1_line(gv_bytes_t line, gv_proxy_header_t *out)
{
    gv_bytes_t protocol = take_word(&line);
    if (gv_bytes_equal(protocol, GV_BYTES_LITERAL("UNKNOWN"))) {
        return GV_OK; /* the rest of the line has no meaning */
    }
    bool is_v4 = gv_bytes_equal(protocol, GV_BYTES_LITERAL("TCP4"));
    if (!is_v4 && !gv_bytes_equal(protocol, GV_BYTES_LITERAL("TCP6"))) {
        return GV_ERR_MALFORMED;
    }
    int family = is_v4 ? AF_INET : AF_INET6;
    gv_bytes_t client = take_word(&line);
    gv_bytes_t server = take_word(&line);
    gv_bytes_t client_port = take_word(&line);
    uint8_t server_address[16];
    uint16_t server_port = 0;
    if (read_address(client, family, out->address) != GV_OK ||
        read_address(server, family, server_address) != GV_OK ||
        read_port(client_port, &out->port) != GV_OK || read_port(line, &server_port) != GV_OK) {
        return GV_ERR_MALFORMED;
    }
    out->family = is_v4 ? GV_PROXY_IPV4 : GV_PROXY_IPV6;
    return GV_OK;
}

static gv_err_t decode_v1(gv_bytes_t input, gv_proxy_header_t *out)
{
    size_t searched = input.size < V1_LINE_MAX ? input.size : V1_LINE_MAX;
    const uint8_t *newline = memchr(input.data, '\n', searched);
    if (newline == NULL) {
        return searched < V1_LINE_MAX ? GV_ERR_AGAIN : GV_ERR_MALFORMED;
    }
    size_t size = (size_t)(newline - input.data);
    if (input.data[size - 1] != '\r') {
        return GV_ERR_MALFORMED;
    }
    size_t skipped = V1_SIGNATURE.size;
    gv_err_t err = read_v1_line(gv_bytes(input.data + skipped, size - 1 - skipped), out);
    out->size = size + 1;
    return err;
}

/* ---- version 2 ------------------------------------------------------------------------------ */

#define V2_SIGNATURE GV_BYTES_LITERAL("\r\n\r\n\0\r\nQUIT\n")

/* Signature, version and command, family, length. */
#define V2_FIXED_SIZE ((size_t)16)

enum {
    V2_VERSION = 2,
    V2_COMMAND_LOCAL = 0,
    V2_COMMAND_PROXY = 1,
    V2_TLV_CRC32C = 3
};

/* The second half of the family byte: we only ever get streams. */
enum {
    V2_TRANSPORT_UNSPECIFIED = 0,
    V2_TRANSPORT_STREAM = 1
};

/* The address family of the wire. */
enum {
    V2_FAMILY_UNSPECIFIED = 0,
    V2_FAMILY_IPV4 = 1,
    V2_FAMILY_IPV6 = 2,
    V2_FAMILY_UNIX = 3
};

static void read_ip(gv_reader_t *r, size_t size, gv_proxy_header_t *out)
{
    gv_bytes_t client = gv_reader_take(r, size);
    (void)gv_reader_take(r, size); /* the server's */
    out->port = gv_reader_u16(r);
    (void)gv_reader_u16(r);
    if (!r->failed) {
        memcpy(out->address, client.data, size);
    }
}

static void read_unix(gv_reader_t *r, gv_proxy_header_t *out)
{
    gv_bytes_t client = gv_reader_take(r, GV_PROXY_PATH_SIZE - 1);
    (void)gv_reader_take(r, GV_PROXY_PATH_SIZE - 1);
    if (!r->failed) {
        memcpy(out->path, client.data, client.size);
        out->path[client.size] = '\0'; /* the wire has none when the path fills its field */
    }
}

/* The addresses after the fixed part; the additional fields are what is left in r. */
static gv_err_t read_addresses(uint8_t family_byte, gv_reader_t *r, gv_proxy_header_t *out)
{
    uint8_t family = family_byte >> 4;
    uint8_t transport = family_byte & 0x0f;
    if (family == V2_FAMILY_UNSPECIFIED || transport == V2_TRANSPORT_UNSPECIFIED) {
        (void)gv_reader_take(r, gv_reader_left(r)); /* no telling where addresses would end */
        return family <= V2_FAMILY_UNIX && transport <= V2_TRANSPORT_STREAM ? GV_OK
                                                                            : GV_ERR_MALFORMED;
    }
    if (transport != V2_TRANSPORT_STREAM) {
        return GV_ERR_MALFORMED;
    }
    switch (family) {
    case V2_FAMILY_IPV4:
        out->family = GV_PROXY_IPV4;
        read_ip(r, 4, out);
        break;
    case V2_FAMILY_IPV6:
        out->family = GV_PROXY_IPV6;
        read_ip(r, 16, out);
        break;
    case V2_FAMILY_UNIX:
        out->family = GV_PROXY_UNIX;
        read_unix(r, out);
        break;
    default:
        return GV_ERR_MALFORMED;
    }
    return r->failed ? GV_ERR_MALFORMED : GV_OK;
}

/* The checksum covers the whole header, with zeros in its own place. */
static bool is_checksum_right(gv_bytes_t header, gv_bytes_t field)
{
    static const uint8_t zeros[4] = {0};
    size_t before = (size_t)(field.data - header.data);
    size_t after = before + field.size;
    uint32_t crc = gv_crc32c(0, gv_bytes(header.data, before));
    crc = gv_crc32c(crc, gv_bytes(zeros, sizeof(zeros)));
    crc = gv_crc32c(crc, gv_bytes(header.data + after, header.size - after));
    gv_reader_t r = gv_reader(field);
    return crc == gv_reader_u32(&r);
}

static gv_err_t check_fields(gv_bytes_t header, gv_reader_t *r)
{
    while (gv_reader_left(r) > 0) {
        uint8_t type = gv_reader_u8(r);
        gv_bytes_t value = gv_reader_take(r, gv_reader_u16(r));
        if (r->failed) {
            return GV_ERR_MALFORMED;
        }
        if (type == V2_TLV_CRC32C && (value.size != 4 || !is_checksum_right(header, value))) {
            return GV_ERR_MALFORMED;
        }
    }
    return GV_OK;
}

static gv_err_t decode_v2(gv_bytes_t input, gv_proxy_header_t *out)
{
    if (input.size < V2_FIXED_SIZE) {
        return GV_ERR_AGAIN;
    }
    gv_reader_t r = gv_reader(input);
    (void)gv_reader_take(&r, V2_SIGNATURE.size);
    uint8_t version_command = gv_reader_u8(&r);
    uint8_t family = gv_reader_u8(&r);
    size_t size = V2_FIXED_SIZE + gv_reader_u16(&r);
    uint8_t command = version_command & 0x0f;
    if (version_command >> 4 != V2_VERSION || command > V2_COMMAND_PROXY) {
        return GV_ERR_MALFORMED;
    }
    if (size > GV_PROXY_HEADER_MAX) {
        return GV_ERR_TOO_LARGE;
    }
    out->size = size;
    if (input.size < size) {
        return GV_ERR_AGAIN;
    }
    if (command == V2_COMMAND_LOCAL) {
        return GV_OK; /* whatever else it says is to be ignored */
    }
    gv_bytes_t header = gv_bytes(input.data, size);
    r = gv_reader(gv_bytes(input.data + V2_FIXED_SIZE, size - V2_FIXED_SIZE));
    gv_err_t err = read_addresses(family, &r, out);
    return err != GV_OK ? err : check_fields(header, &r);
}

/* ---- which of them -------------------------------------------------------------------------- */

static bool begins_with(gv_bytes_t input, gv_bytes_t signature)
{
    size_t size = input.size < signature.size ? input.size : signature.size;
    return size == 0 || memcmp(input.data, signature.data, size) == 0;
}

gv_err_t gv_proxy_decode(gv_bytes_t input, gv_proxy_header_t *out)
{
    *out = (gv_proxy_header_t){.family = GV_PROXY_OWN};
    gv_bytes_t v1 = V1_SIGNATURE;
    gv_bytes_t v2 = V2_SIGNATURE;
    if (begins_with(input, v1)) {
        return input.size < v1.size ? GV_ERR_AGAIN : decode_v1(input, out);
    }
    if (begins_with(input, v2)) {
        return input.size < v2.size ? GV_ERR_AGAIN : decode_v2(input, out);
    }
    return GV_ERR_MALFORMED;
}
