/* Pages: what the kernel maps, 4 KiB here, 16 on Apple's machines and the Raspberry Pi 5, 64 on some servers.
 *
 * A part of a file can be mapped where it begins a page, and only whole pages are. So whatever is mapped by itself begins
 * at a multiple of the page's size that this system says, never at one of a number that is written down.
 */
#ifndef PP_PAGE_H
#define PP_PAGE_H

#include <stddef.h>
#include <unistd.h>

/* A power of two. No system call: the kernel told it when the program began. */
static inline size_t pp_page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* The least number of whole pages' bytes that holds `size`. */
static inline size_t pp_whole_pages(size_t size) { return (size + pp_page_size() - 1) & ~(pp_page_size() - 1); }

static inline int pp_begins_page(size_t place) { return (place & (pp_page_size() - 1)) == 0; }

#endif
