#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "observe/metrics.h"

struct ls_tensorboard {
    ls_file_log *log;
    ls_text event, record;
};

/* CRC-32C (Castagnoli), bit by bit over a byte: a few hundred bytes per step need no table. */
uint32_t ls_crc32c(const void *data, size_t bytes) {
    const unsigned char *p = data;
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
    }
    return crc ^ 0xffffffffu;
}

/* TFRecord's mask: rotated, plus a constant. */
static uint32_t masked_crc(const void *data, size_t bytes) {
    const uint32_t crc = ls_crc32c(data, bytes);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static void put_varint(ls_text *out, uint64_t value) {
    unsigned char buffer[10];
    size_t n = 0;
    do {
        buffer[n] = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
    } while (buffer[n++] & 0x80);
    ls_text_append_bytes(out, buffer, n);
}

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static void put_key(ls_text *out, int field, int wire) {
    put_varint(out, (uint64_t)(field << 3 | wire));
}

static void put_double(ls_text *out, int field, double value) {
    put_key(out, field, WIRE_64);
    ls_text_append_bytes(out, &value, sizeof value);
}

static void put_bytes(ls_text *out, int field, const void *data, size_t bytes) {
    put_key(out, field, WIRE_BYTES);
    put_varint(out, bytes);
    ls_text_append_bytes(out, data, bytes);
}

static ls_status write_record(ls_tensorboard *b) {
    const uint64_t size = b->event.size;
    const uint32_t size_crc = masked_crc(&size, sizeof size),
                   data_crc = masked_crc(b->event.data, b->event.size);
    b->record.size = 0;
    ls_text_append_bytes(&b->record, &size, sizeof size);
    ls_text_append_bytes(&b->record, &size_crc, sizeof size_crc);
    ls_text_append_bytes(&b->record, b->event.data, b->event.size);
    ls_text_append_bytes(&b->record, &data_crc, sizeof data_crc);
    LS_TRY(b->event.status);
    LS_TRY(b->record.status);
    return ls_file_log_write(b->log, b->record.data, b->record.size);
}

static void begin_event(ls_tensorboard *b) {
    b->event.size = 0;
    put_double(&b->event, 1, (double)ls_clock_unix_ms() / 1000.0); /* wall_time */
}

static ls_status open_board(ls_tensorboard *b, const char *dir) {
    char host[256] = "localhost";
    (void)!gethostname(host, sizeof host - 1);
    char *path = ls_format("%s/events.out.tfevents.%lld.%s.%ld", dir,
                           (long long)(ls_clock_unix_ms() / 1000), host, (long)getpid());
    if (!path) return LS_ERR_NO_MEMORY;
    const ls_status status = ls_file_log_open(path, 1, &b->log);
    ls_free(path);
    LS_TRY(status);
    begin_event(b);
    put_bytes(&b->event, 3, "brain.Event:2", 13); /* file_version */
    return write_record(b);
}

ls_status ls_tensorboard_open(const char *dir, ls_tensorboard **out) {
    ls_tensorboard *b = ls_alloc(sizeof *b);
    if (!b) return LS_ERR_NO_MEMORY;
    const ls_status status = open_board(b, dir);
    if (status != LS_OK) {
        ls_tensorboard_close(b);
        return status;
    }
    *out = b;
    return LS_OK;
}

/* Summary.Value { tag = 1; simple_value = 2; } inside Summary { value = 1; } inside Event { summary = 5; }. */
static void put_scalar(ls_text *summary, const ls_metric *item) {
    char value[300];
    const size_t name = strlen(item->name);
    const float number = (float)item->value;
    if (name > 120) return;
    size_t n = 0;
    value[n++] = (char)(1 << 3 | WIRE_BYTES);
    value[n++] = (char)name;
    memcpy(value + n, item->name, name);
    n += name;
    value[n++] = (char)(2 << 3 | WIRE_32);
    memcpy(value + n, &number, sizeof number);
    put_bytes(summary, 1, value, n + sizeof number);
}

ls_status ls_tensorboard_write(ls_tensorboard *b, int64_t step, const ls_metric *items,
                               int n_items) {
    ls_text summary = {0};
    for (int i = 0; i < n_items; i++)
        if (isfinite(items[i].value)) put_scalar(&summary, &items[i]);
    begin_event(b);
    put_key(&b->event, 2, WIRE_VARINT);
    put_varint(&b->event, (uint64_t)step);
    put_bytes(&b->event, 5, summary.data, summary.size);
    const ls_status status = summary.status;
    ls_text_deinit(&summary);
    return status == LS_OK ? write_record(b) : status;
}

void ls_tensorboard_close(ls_tensorboard *b) {
    if (!b) return;
    ls_file_log_close(b->log);
    ls_text_deinit(&b->event);
    ls_text_deinit(&b->record);
    ls_free(b);
}
