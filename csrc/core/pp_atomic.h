/* The only atomics of the core. A build for a model checker replaces this header.
 *
 * All words that processes share are sequentially consistent: the protocols rest on "I store mine, then look at
 * yours", which weaker orders do not give, and on x86-64 a read-modify-write costs the same. Where a plain load is
 * enough it says so by its name.
 */
#ifndef PP_ATOMIC_H
#define PP_ATOMIC_H

#include <stdint.h>

typedef _Atomic uint32_t pp_word;
typedef _Atomic uint64_t pp_word64;

/* Two numbers in one word. */
static inline uint64_t pp_pack64(uint32_t high, uint32_t low) { return (uint64_t)high << 32 | low; }
static inline uint32_t pp_hi32(uint64_t word) { return (uint32_t)(word >> 32); }
static inline uint32_t pp_lo32(uint64_t word) { return (uint32_t)word; }

static inline uint32_t pp_load(pp_word *word) { return __atomic_load_n((uint32_t *)word, __ATOMIC_SEQ_CST); }

/* For facts that only this process writes. */
static inline uint32_t pp_load_own(pp_word *word) { return __atomic_load_n((uint32_t *)word, __ATOMIC_RELAXED); }

static inline void pp_store_own(pp_word *word, uint32_t value)
{
    __atomic_store_n((uint32_t *)word, value, __ATOMIC_RELAXED);
}

static inline void pp_store(pp_word *word, uint32_t value)
{
    __atomic_store_n((uint32_t *)word, value, __ATOMIC_SEQ_CST);
}

static inline int pp_cas(pp_word *word, uint32_t before, uint32_t after)
{
    return __atomic_compare_exchange_n((uint32_t *)word, &before, after, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline uint32_t pp_exchange(pp_word *word, uint32_t value)
{
    return __atomic_exchange_n((uint32_t *)word, value, __ATOMIC_SEQ_CST);
}

static inline uint32_t pp_add(pp_word *word, uint32_t value)
{
    return __atomic_fetch_add((uint32_t *)word, value, __ATOMIC_SEQ_CST);
}

static inline uint32_t pp_or(pp_word *word, uint32_t bits)
{
    return __atomic_fetch_or((uint32_t *)word, bits, __ATOMIC_SEQ_CST);
}

static inline int pp_cas64(pp_word64 *word, uint64_t before, uint64_t after)
{
    return __atomic_compare_exchange_n((uint64_t *)word, &before, after, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline uint64_t pp_load64(pp_word64 *word) { return __atomic_load_n((uint64_t *)word, __ATOMIC_SEQ_CST); }

/* What only the owner of a lock writes, before it gives the lock back. */
static inline void pp_publish(pp_word *word, uint32_t value)
{
    __atomic_store_n((uint32_t *)word, value, __ATOMIC_RELEASE);
}

static inline void pp_publish64(pp_word64 *word, uint64_t value)
{
    __atomic_store_n((uint64_t *)word, value, __ATOMIC_RELEASE);
}

static inline void pp_store64(pp_word64 *word, uint64_t value)
{
    __atomic_store_n((uint64_t *)word, value, __ATOMIC_SEQ_CST);
}

static inline void pp_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
