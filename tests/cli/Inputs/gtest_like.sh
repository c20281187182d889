#!/usr/bin/env bash
# Says what a GoogleTest binary of five cases says: one passes, one is skipped, one fails, one passes, and one ends as $GTEST_LIKE wants.
cat <<'TEXT'
Running main() from gtest_main.cc
[==========] Running 5 tests from 1 test suite.
[----------] 5 tests from Net
[ RUN      ] Net.Whole
noise of Net.Whole
[       OK ] Net.Whole (1 ms)
[ RUN      ] Net.Later
[  SKIPPED ] Net.Later (0 ms)
[ RUN      ] Net.Torn
net_test.cpp:7: Failure
holes
[  FAILED  ] Net.Torn (1 ms)
[ RUN      ] Net.Mended
[       OK ] Net.Mended (1 ms)
[ RUN      ] Net.Last
noise of Net.Last
TEXT
case ${GTEST_LIKE:-} in
  crash) kill -SEGV $$ ;;
  hang) exec sleep 30 ;;
esac
cat <<'TEXT'
[       OK ] Net.Last (1 ms)
[----------] 5 tests from Net (3 ms total)
[==========] 5 tests from 1 test suite ran. (3 ms total)
[  PASSED  ] 3 tests.
[  FAILED  ] 1 test, listed below:
[  FAILED  ] Net.Torn

 1 FAILED TEST
TEXT
exit 1
