# For awk -f strip.awk -f RULES.awk FILE...: strip(line) takes comments and the insides of strings and characters away,
# and remembers a comment that goes on. Call it once per line; strip_reset() at the start of a file.
function strip_reset() { strip_in_comment = 0 }
function strip(line,    out, at, what) {
    out = ""
    while (line != "") {
        if (strip_in_comment) {
            at = index(line, "*/")
            if (!at) return out
            line = substr(line, at + 2)
            strip_in_comment = 0
            continue
        }
        if (!match(line, /\/\*|\/\/|"|'/)) return out line
        what = substr(line, RSTART, RLENGTH)
        out = out substr(line, 1, RSTART - 1)
        line = substr(line, RSTART + RLENGTH)
        if (what == "//") return out
        if (what == "/*") { strip_in_comment = 1; out = out " "; continue }
        # The end of the literal; a backslash takes the next character with it.
        while (line != "" && substr(line, 1, 1) != what)
            line = substr(line, substr(line, 1, 1) == "\\" ? 3 : 2)
        line = substr(line, 2)
        out = out what what
    }
    return out
}
