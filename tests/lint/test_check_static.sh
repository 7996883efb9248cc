#!/bin/sh
# tools/check_static takes one program, and refuses one that needs shared libraries, is too large or does not run.
. tests/lint/lint.sh
compile() { printf '%s\n' "$2" | cc -O1 -x c -o "$tree/$1" - "$3"; }
lint() { tools/check_static "$@"; }

# asks NAME ARGUMENTS...: the usage, and status 2.
asks() {
    name=$1
    shift
    catches "$name" "needs one program that is built: make static, then tools/check_static " lint "$@"
    status=0
    lint "$@" 2>/dev/null || status=$?
    [ "$status" -eq 2 ] || { echo "FAILED: $name: status $status, not 2" && exit 1; }
}
asks "no argument"
asks "a file that is missing" "$tree/missing"
asks "a folder" "$tree"
asks "two programs" tools/check_static tools/check_static

compile good 'int main(void) { return 0; }' -static
passes "a static program" lint "$tree/good"
case $output in *"has "*" bytes when stripped (limit 15000000)"*) ;; *) echo "FAILED: no bytes in: $output" && exit 1 ;; esac
compile shared 'int main(void) { return 0; }' -pie
catches "a program with shared libraries" "needs shared libraries" lint "$tree/shared"
compile large 'char much[15000000] = {1}; int main(void) { return much[1]; }' -static
catches "a large program" "the limit is 15000000" lint "$tree/large"
compile broken 'int main(void) { return 3; }' -static
catches "a program that does not run" "--version ended with status 3" lint "$tree/broken"
done_well
