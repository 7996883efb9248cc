/* One file of text, compressed (.zst) or not, read whole or line by line. One thread at a time. Local. */
#ifndef LS_DATA_TEXT_SOURCE_H
#define LS_DATA_TEXT_SOURCE_H
#include "lockstep/status.h"
#include <stddef.h>

typedef struct ls_text_source ls_text_source;

ls_status ls_text_source_open(const char *path, int compressed, size_t max_bytes,
                              ls_text_source **out);
void ls_text_source_close(ls_text_source *source);
/* The whole text; valid until the source is closed. */
ls_status ls_text_source_whole(ls_text_source *source, const char **text_out, size_t *bytes_out);
/* The next line without its "\n"; *line_out is NULL at the end. Valid until the next call. */
ls_status ls_text_source_line(ls_text_source *source, const char **line_out, size_t *bytes_out);

#endif
