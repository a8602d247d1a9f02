/* SPDX-License-Identifier: MIT */
/* Any frame can be printed: into a line that is long enough, and into one that is not. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char whole[1024], cut[40];
    struct dk_text text = DK_TEXT(whole);
    dk_frame_print(&text, bytes, len);
    fuzz_check_text(&text);
    FUZZ_CHECK(text.len > 0 && text.len < sizeof(whole) - 1);
    text = DK_TEXT(cut);
    dk_frame_print(&text, bytes, len);
    fuzz_check_text(&text);
    FUZZ_CHECK(strncmp(cut, whole, text.len) == 0);
    text = DK_TEXT(whole);
    dk_packet_print(&text, bytes, len);
    fuzz_check_text(&text);
    return 0;
}
