# The counting behind tools/size. A function begins at column 0 and ends with a brace there: clang-format's layout.
BEGIN {
    while ((getline line <allow) > 0) {
        if (line ~ /^[ \t]*(#|$)/) continue
        split(line, part, " ")
        allowed[part[1] " " part[2] " " part[3]] = part[4]
    }
}
function is_kernel(file) { return file ~ /^src\/op\/.*(_cpu|_amx|_avx512bf16)\.c$|\.cu$|^src\/op\/.*_(tile|fwd|bwd|engines)\.h$/ }
# One measured thing: complain past the limit unless the list allows as much.
function judge(file, name, kind, value, limit,    key) {
    if (value <= limit) return
    key = file " " name " " kind
    if (key in allowed) {
        used[key] = 1
        if (value <= allowed[key]) { n_allowed++; return }
    }
    printf "%s: %s has %s %d, look again past %d\n", file, name == "-" ? "the file" : name "()", kind, value, limit
    bad++
}
function end_file() {
    if (file == "") return
    n_files++
    lines_total += n_lines
    if (file ~ /^tests\//) test_lines += n_lines
    if (file ~ /^(src|include)\//) source_lines += n_lines
    judge(file, "-", "lines", n_lines, is_kernel(file) ? 800 : 600)
}
function count(text, pattern) { return gsub(pattern, "", text) }
function n_parameters(signature,    i, depth, n, letter, any) {
    i = index(signature, "(")
    for (; i <= length(signature); i++) {
        letter = substr(signature, i, 1)
        if (letter == "(") depth++
        else if (letter == ")" && --depth == 0) break
        else if (letter == "," && depth == 1) n++
        else if (letter !~ /[ \t]/) any = 1
    }
    return any ? n + 1 : 0
}
function end_function(    limit, name) {
    name = signature
    sub(/[ \t]*\(.*/, "", name)
    sub(/.*[ \t*]/, "", name)
    limit = is_kernel(file) ? 150 : 80
    n_functions++
    function_lines += FNR - began + 1
    if (FNR - began + 1 <= 20) n_short++
    judge(file, name, "lines", FNR - began + 1, limit)
    # Test cases and table walks are long in branches by nature; the limit is for what ships.
    if (file ~ /^src\//) judge(file, name, "complexity", branches + 1, is_kernel(file) ? 40 : 20)
    judge(file, name, "parameters", n_parameters(signature), 8)
    if (report) printf "%5d lines %3d branches  %s %s\n", FNR - began + 1, branches, file, name
}
FNR == 1 {
    end_file()
    file = FILENAME
    strip_reset()
    inside = 0
    pending = ""
}
{
    n_lines = FNR
    is_comment = strip_in_comment || $0 ~ /^[ \t]*(\/\*|\/\/)/
    if (is_comment) comment_lines++
    code = strip($0)
    if (inside) {
        branches += count(code, "(^|[^A-Za-z0-9_])(if|for|while|case)([^A-Za-z0-9_]|$)") + count(code, "&&|[|][|]|[?]")
        if (code ~ /^}/) { end_function(); inside = 0; pending = "" }
        next
    }
    if (code ~ /^[ \t]*#/ || code ~ /^[ \t]*$/) next
    if (pending == "") began = FNR
    pending = pending " " code
    if (code ~ /\{[ \t]*$/) {
        if (pending ~ /\(/ && pending !~ /=/ && pending !~ /^ *(typedef|struct|enum|union)[^()]*\{/) {
            inside = 1
            branches = 0
            signature = pending
            sub(/\{[ \t]*$/, "", signature)
        } else depth_skip = 1
        if (!inside) pending = ""
    } else if (code ~ /[;}][ \t]*$/) pending = ""
}
END {
    end_file()
    for (key in allowed)
        if (!(key in used)) { printf "tools/size.allow: \"%s\" is no longer needed: take the line out\n", key; bad++ }
    printf "size: %d files, %d lines (%.0f %% comments), %d functions of %.1f lines (%.0f %% up to 20), tests : source %.2f, %d allowed offenders\n",
        n_files, lines_total, 100 * comment_lines / (lines_total ? lines_total : 1), n_functions,
        function_lines / (n_functions ? n_functions : 1), 100 * n_short / (n_functions ? n_functions : 1),
        test_lines / (source_lines ? source_lines : 1), n_allowed
    if (bad) { printf "size: %d offenders\n", bad; exit 1 }
}
