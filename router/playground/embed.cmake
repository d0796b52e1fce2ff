# cmake -DINPUT=playground.js -DOUTPUT=x.cc -DNAME=kPlaygroundPlaygroundJs -P embed.cmake
# A text file as a constant of the router.
file(READ "${INPUT}" content)
string(FIND "${content}" ")embedded\"" end)
if(NOT end EQUAL -1)
  message(FATAL_ERROR "${INPUT} holds the end of its own raw string")
endif()
file(WRITE "${OUTPUT}"
  "// Made from ${INPUT} by router/playground/embed.cmake.\n#include <string_view>\n\n"
  "namespace pingti::router {\nextern const std::string_view ${NAME};\n"
  "const std::string_view ${NAME} = R\"embedded(${content})embedded\";\n}\n")
