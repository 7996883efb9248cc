#include "data/pretokenize.h"
#include "data_check.h"

static ls_status join_word(void *user, const unsigned char *word, size_t bytes) {
    ls_text *text = user;
    ls_text_append_bytes(text, word, bytes);
    ls_text_append_bytes(text, "|", 1);
    return text->status;
}

static char *cut(const char *const *patterns, int n, const char *text, size_t bytes) {
    ls_split_rule *rules[8] = {0};
    ls_cutter *cutter = NULL;
    ls_text words = {0};
    for (int i = 0; i < n; i++) check_ok(ls_split_rule_create(patterns[i], &rules[i]));
    check_ok(ls_cutter_create(rules, n, &cutter));
    check_ok(ls_cutter_run(cutter, text, bytes, join_word, &words));
    ls_cutter_destroy(cutter);
    for (int i = 0; i < n; i++) ls_split_rule_destroy(rules[i]);
    return words.data;
}

/* The words are those of GPT-2's encoder (checked with Hugging Face's ByteLevel by test_tokenizer_peer). */
static void test_gpt2_words(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"In the beginning God", "In| the| beginning| God|"},
        {"it's we'll I'd 'S", "it|'s| we|'ll| I|'d| '|S|"},
        {"a  b", "a| | b|"},
        {"a   ", "a|   |"},
        {"a\n\n b", "a|\n\n| b|"},
        {"Ge1:2 And", "Ge|1|:|2| And|"},
        {" 123abc", " 123|abc|"},
        {"!?...x", "!?...|x|"},
        {"\xC3\xA9t\xC3\xA9 \xE6\x97\xA5\xE6\x9C\xAC",
         "\xC3\xA9t\xC3\xA9| \xE6\x97\xA5\xE6\x9C\xAC|"},
        {"x\xC2\xA0y", "x|\xC2\xA0|y|"}, /* no-break space is a space */
        {"x\xE3\x80\x80\xE3\x80\x80y", "x|\xE3\x80\x80|\xE3\x80\x80|y|"}, /* ideographic space */
        {"x\xE1\xA0\x8Ey", "x|\xE1\xA0\x8E|y|"},           /* U+180E is none since Unicode 6.3 */
        {"\xC2\xBD\xE2\x85\xA7", "\xC2\xBD\xE2\x85\xA7|"}, /* numbers */
        {"e\xCC\x81", "e|\xCC\x81|"},                      /* a combining mark is no letter */
        {"ab\xFF\xFE c", "ab|\xFF\xFE| c|"},               /* not UTF-8: a word of its own */
        {"\xE2\x82", "\xE2\x82|"},
        {"a\x80", "a|\x80|"},
    };
    const char *pattern = LS_GPT2_PATTERN;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *words = cut(&pattern, 1, cases[i].text, strlen(cases[i].text));
        if (strcmp(words, cases[i].words) != 0)
            fail_msg("case %zu: %s, wanted %s", i, words, cases[i].words);
        ls_free(words);
    }
}

static void test_rules_nest(void **state) {
    (void)state;
    static const char *const digits[] = {"\\p{N}", LS_GPT2_PATTERN};
    char *words = cut(digits, 2, "ab 123x y", 9);
    assert_string_equal(words, "ab| |1|2|3|x| y|");
    ls_free(words);
    words = cut(digits, 0, "no rule", 7);
    assert_string_equal(words, "no rule|");
    ls_free(words);
    static const char *const gaps[] = {"b+"};
    words = cut(gaps, 1, "aabbcb", 6);
    assert_string_equal(words, "aa|bb|c|b|");
    ls_free(words);
}

/* Patterns that match nothing, or oddly, still lose no byte and come to an end. */
static void test_odd_patterns(void **state) {
    (void)state;
    static const char *const patterns[] = {"x*", "(?=a)", "$", "\\b", "(?<=a)b|", "a\\Kb"};
    static const char text[] = "abcab \xC3\xA9xx";
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char *words = cut(&patterns[i], 1, text, sizeof text - 1);
        size_t n = 0;
        for (char *p = words; *p != '\0'; p++)
            if (*p != '|') assert_int_equal(*p, text[n++]);
        assert_int_equal(n, sizeof text - 1);
        ls_free(words);
    }
}

static void test_refused(void **state) {
    (void)state;
    ls_split_rule *rule = NULL;
    check_fails(ls_split_rule_create("(unclosed", &rule), LS_ERR_FORMAT, "no regular expression");
    /* exponential backtracking runs into PCRE2's limit instead of running for ever */
    ls_split_rule *slow = NULL;
    ls_cutter *cutter = NULL;
    ls_text words = {0};
    char text[60];
    memset(text, 'a', sizeof text);
    check_ok(ls_split_rule_create("^(a|aa)+[bc]", &slow));
    check_ok(ls_cutter_create(&slow, 1, &cutter));
    check_fails(ls_cutter_run(cutter, text, sizeof text, join_word, &words), LS_ERR_DATA,
                "gave up");
    ls_cutter_destroy(cutter);
    ls_split_rule_destroy(slow);
    ls_text_deinit(&words);
}

static ls_status cut_something(void *user) {
    (void)user;
    ls_split_rule *rule = NULL;
    ls_cutter *cutter = NULL;
    ls_text words = {0};
    ls_status status = ls_split_rule_create(LS_GPT2_PATTERN, &rule);
    if (status == LS_OK) status = ls_cutter_create(&rule, 1, &cutter);
    if (status == LS_OK) status = ls_cutter_run(cutter, "some words", 10, join_word, &words);
    ls_text_deinit(&words);
    ls_cutter_destroy(cutter);
    ls_split_rule_destroy(rule);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    assert_true(check_torture(cut_something, NULL) > 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2_words),    cmocka_unit_test(test_rules_nest),
        cmocka_unit_test(test_odd_patterns),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
