#!/bin/sh
# Installs the build into an empty prefix and uses it as somebody else would: by pkg-config, by CMake, shared and static.
# labels: timeout=300
set -eu
build=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

cmake --install "$build" --prefix "$prefix" >"$work/log" || { cat "$work/log" && exit 1; }
lib=$(dirname "$(find "$prefix" -name liblockstep.a)")

must_exist() {
    for file in "$@"; do
        [ -s "$file" ] || { echo "FAILED: $file is not installed" && exit 1; }
    done
}
must_exist "$prefix/bin/lockstep" "$prefix/include/lockstep/status.h" "$lib/liblockstep.so" "$lib/pkgconfig/lockstep.pc" \
    "$lib/cmake/lockstep/lockstepConfig.cmake" "$prefix/share/man/man1/lockstep.1" "$prefix/share/man/man1/lockstep-version.1" \
    "$prefix/share/bash-completion/completions/lockstep" "$prefix/share/zsh/site-functions/_lockstep"
"$prefix/bin/lockstep" --version >/dev/null
if command -v man >/dev/null 2>&1; then
    complaints=$(man --warnings -l "$prefix/share/man/man1/lockstep.1" 2>&1 >/dev/null)
    [ -z "$complaints" ] || { echo "FAILED: man: $complaints" && exit 1; }
fi

# Every installed header stands on its own, in C and in C++ where there is a C++ compiler.
for header in "$prefix"/include/lockstep/*.h; do
    echo "#include <lockstep/$(basename "$header")>" >"$work/header.c"
    cc -std=c11 -Wall -Wextra -Werror -fsyntax-only -I"$prefix/include" "$work/header.c"
done

# The shared library exports ls_ names only.
foreign=$(nm -D --defined-only "$lib/liblockstep.so" | awk '$3 !~ /^(ls_|_init$|_fini$)/ { print $3 }')
[ -z "$foreign" ] || { echo "FAILED: liblockstep.so exports $foreign" && exit 1; }

export PKG_CONFIG_PATH="$lib/pkgconfig"
# shellcheck disable=SC2046
cc -std=c11 -o "$work/shared" "$here/consumer.c" $(pkg-config --cflags --libs lockstep)
LD_LIBRARY_PATH=$lib "$work/shared"
readelf -d "$work/shared" | grep -q 'liblockstep.so.0' || { echo "FAILED: not linked with the shared library" && exit 1; }

mkdir "$work/cmake"
cp "$here/consumer.c" "$work/cmake"
cat >"$work/cmake/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.16)
project(consumer C)
find_package(lockstep 0.1 REQUIRED)
add_executable(shared consumer.c)
target_link_libraries(shared lockstep::lockstep)
add_executable(static consumer.c)
target_link_libraries(static lockstep::static)
END
cmake -S "$work/cmake" -B "$work/cmake/build" -DCMAKE_PREFIX_PATH="$prefix" >"$work/log" 2>&1 || { cat "$work/log" && exit 1; }
cmake --build "$work/cmake/build" >"$work/log" 2>&1 || { cat "$work/log" && exit 1; }
"$work/cmake/build/shared"
"$work/cmake/build/static"
if readelf -d "$work/cmake/build/static" | grep -q liblockstep; then
    echo "FAILED: lockstep::static is not static" && exit 1
fi
echo "install: ok"
