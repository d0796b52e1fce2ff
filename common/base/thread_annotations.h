// Names for clang's thread-safety attributes; nothing under other compilers. See mutex.h.
#pragma once

#if defined(__clang__)
#define PINGTI_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define PINGTI_THREAD_ATTRIBUTE(x)
#endif

#define PINGTI_CAPABILITY(name) PINGTI_THREAD_ATTRIBUTE(capability(name))
#define PINGTI_SCOPED_CAPABILITY PINGTI_THREAD_ATTRIBUTE(scoped_lockable)
#define PINGTI_GUARDED_BY(mutex) PINGTI_THREAD_ATTRIBUTE(guarded_by(mutex))
#define PINGTI_PT_GUARDED_BY(mutex) PINGTI_THREAD_ATTRIBUTE(pt_guarded_by(mutex))
#define PINGTI_REQUIRES(...) PINGTI_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define PINGTI_ACQUIRE(...) PINGTI_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define PINGTI_RELEASE(...) PINGTI_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define PINGTI_EXCLUDES(...) PINGTI_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
