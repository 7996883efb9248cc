# What `cmake --install` puts where; man pages and completion are printed by the program itself from its verb tables.
include(CMakePackageConfigHelpers)

file(STRINGS ${PROJECT_SOURCE_DIR}/src/cli/cmd.def LS_VERB_LINES REGEX "^LS_CMD\\(")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cli/cmd.def)
set(LS_SHARE ${PROJECT_BINARY_DIR}/share)
file(MAKE_DIRECTORY ${LS_SHARE}/man1)

set(LS_GENERATED)
function(ls_generate output)
  add_custom_command(OUTPUT ${output} COMMAND lockstep ${ARGN} > ${output} DEPENDS lockstep VERBATIM)
  set(LS_GENERATED ${LS_GENERATED} ${output} PARENT_SCOPE)
endfunction()
ls_generate(${LS_SHARE}/man1/lockstep.1 help --man)
foreach(line ${LS_VERB_LINES})
  string(REGEX REPLACE "^LS_CMD\\(([a-z_]+),.*" "\\1" verb "${line}")
  ls_generate(${LS_SHARE}/man1/lockstep-${verb}.1 help --man ${verb})
endforeach()
ls_generate(${LS_SHARE}/lockstep.bash help --completion bash)
ls_generate(${LS_SHARE}/_lockstep help --completion zsh)
add_custom_target(ls_generated ALL DEPENDS ${LS_GENERATED})

string(REPLACE ";" ", " LS_PC_REQUIRES "${LS_PKGS}")
configure_file(${PROJECT_SOURCE_DIR}/cmake/lockstep.pc.in ${PROJECT_BINARY_DIR}/lockstep.pc @ONLY)
set(LS_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/lockstep)
string(REPLACE ";" " " LS_PKGS_WORDS "${LS_PKGS}")
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/lockstepConfig.cmake.in
  ${PROJECT_BINARY_DIR}/lockstepConfig.cmake INSTALL_DESTINATION ${LS_PACKAGE_DIR}
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/lockstepConfigVersion.cmake COMPATIBILITY SameMinorVersion)

set(LS_INSTALLED lockstep lockstep_static)
if(LS_SHARED)
  list(APPEND LS_INSTALLED lockstep_shared)
endif()
install(TARGETS ${LS_INSTALLED})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/lockstep DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_BINARY_DIR}/lockstep.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_BINARY_DIR}/lockstepConfig.cmake ${PROJECT_BINARY_DIR}/lockstepConfigVersion.cmake
  DESTINATION ${LS_PACKAGE_DIR})
install(DIRECTORY ${LS_SHARE}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR} FILES_MATCHING PATTERN "*.1")
install(FILES ${LS_SHARE}/lockstep.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME lockstep)
install(FILES ${LS_SHARE}/_lockstep DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
