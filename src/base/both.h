/* SY_BOTH: a function that host and device code share, inline in a header. */
#ifndef SY_BASE_BOTH_H
#define SY_BASE_BOTH_H

#ifdef __CUDACC__
#define SY_BOTH static inline __host__ __device__
#else
#define SY_BOTH static inline
#endif

#endif
