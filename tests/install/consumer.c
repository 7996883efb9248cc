/* What somebody else's program looks like: one installed header, one call. */
#include <lockstep/status.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    if (ls_status_exit_code(LS_ERR_CONFIG) != 2) return 1;
    if (strcmp(ls_status_words(LS_OK), "success") != 0) return 2;
    if (ls_error_set(LS_ERR_DATA, __FILE__, __LINE__, "token %d", 7) != LS_ERR_DATA) return 3;
    if (strcmp(ls_error_message(), "token 7") != 0) return 4;
    puts("consumer: ok");
    return 0;
}
