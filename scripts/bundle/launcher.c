/* BUNDLE/bin/kled-agent, kled-init and kled-python: run the bundle's interpreter with the bundle's loader.
 *
 * Static and freestanding, because an image may have no loader, no C library and no shell. It runs
 *   BUNDLE/lib/NAME --argv0 BUNDLE/bin/kled-python BUNDLE/lib/PYTHON -I -S -X utf8 [-m MODULE] ARGUMENTS
 * where NAME is its own and a link to ld.so, so that ps(1) shows it, and decides the module. Variables that change what a loader,
 * a C library, OpenSSL or Python loads are the image's and are not handed on. SSL_CERT_FILE is set to the
 * image's certificates, else the bundle's, unless somebody chose.
 *
 * System calls: syscall(2), and the kernel's arch/{x86/entry/syscalls/syscall_64.tbl,arm64 asm-generic/unistd.h}.
 * The stack at _start: System V ABI, "Initial Stack and Register State". */

enum { STDERR = 2, READABLE = 4, AT_FDCWD = -100, AT_EXECFN = 31, CANNOT_START = 127 };

#if defined(__x86_64__)
enum { WRITE = 1, EXECVE = 59, EXIT_GROUP = 231, READLINKAT = 267, FACCESSAT = 269 };
static long call(long number, long a, long b, long c, long d) {
    register long fourth __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}
__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
#elif defined(__aarch64__)
enum { WRITE = 64, EXECVE = 221, EXIT_GROUP = 94, READLINKAT = 78, FACCESSAT = 48 };
static long call(long number, long a, long b, long c, long d) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
__asm__(".globl _start\n_start:\n mov x29, #0\n mov x0, sp\n and sp, x0, #-16\n bl begin\n");
#else
#error "a bundle is for x86_64 or aarch64"
#endif

enum { PATH_MAX = 4096, ARGUMENTS_MAX = 4096, VARIABLES_MAX = 8192, OURS_MAX = 16 };
static char bundle[PATH_MAX], loader[PATH_MAX + 64], interpreter[PATH_MAX + 64], executable[PATH_MAX + 64],
    certificates[PATH_MAX + 64];
static char *arguments[ARGUMENTS_MAX + OURS_MAX], *variables[VARIABLES_MAX + OURS_MAX];

/* Beginnings of variables that are not handed on. */
static const char *const DROPPED[] = {
    "LD_", "PYTHON", "LC_", "GCONV_PATH=", "LOCPATH=", "NLSPATH=", "HOSTALIASES=", "GLIBC_TUNABLES=", "MALLOC_",
    "OPENSSL_CONF=", "OPENSSL_MODULES=", "OPENSSL_ENGINES=", 0};
/* Where images keep their certificates: Debian and Alpine, Fedora, SUSE, RHEL, OpenWrt and others. */
static const char *const CERTIFICATES[] = {
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem", 0};

static char *append(char *to, const char *text) {
    while ((*to = *text++)) to++;
    return to;
}

static int begins(const char *text, const char *with) {
    while (*with)
        if (*text++ != *with++) return 0;
    return 1;
}

static void say(const char *text) {
    long length = 0;
    while (text[length]) length++;
    call(WRITE, STDERR, (long)text, length, 0);
}

static void fail(const char *what, const char *path) {
    say("kled: ");
    say(what);
    say(path);
    say("\n");
    call(EXIT_GROUP, CANNOT_START, 0, 0, 0);
}

/* The path of this program, into `bundle`; without /proc what execve(2) was given, if that is absolute. */
static long find_self(const long *auxiliary) {
    long length = call(READLINKAT, AT_FDCWD, (long)"/proc/self/exe", (long)bundle, PATH_MAX - 1);
    if (length <= 0)
        for (; auxiliary[0]; auxiliary += 2)
            if (auxiliary[0] == AT_EXECFN) {
                const char *path = (const char *)auxiliary[1];
                for (length = 0; path[length] && length < PATH_MAX - 1; length++) bundle[length] = path[length];
            }
    if (length <= 0 || bundle[0] != '/') fail("there is no /proc here: start this by an absolute path", "");
    bundle[length] = 0;
    return length;
}

static char **keep_variables(char **to, char **environment, int *chosen) {
    char **last = variables + VARIABLES_MAX;
    for (; *environment && to < last; environment++) {
        int dropped = 0;
        for (const char *const *name = DROPPED; *name; name++) dropped |= begins(*environment, *name);
        *chosen |= begins(*environment, "SSL_CERT_FILE=") || begins(*environment, "SSL_CERT_DIR=");
        if (!dropped) *to++ = *environment;
    }
    return to;
}

static void choose_certificates(void) {
    char *path = append(certificates, "SSL_CERT_FILE=");
    append(append(path, bundle), "/etc/cacert.pem");
    for (const char *const *found = CERTIFICATES; *found; found++)
        if (!call(FACCESSAT, AT_FDCWD, (long)*found, READABLE, 0)) {
            append(path, *found);
            return;
        }
}

__attribute__((used, noreturn)) void begin(long *stack) {
    long count = stack[0];
    char **given = (char **)(stack + 1), **environment = given + count + 1, **end = environment;
    while (*end) end++;
    long slash = find_self((long *)(end + 1));
    while (bundle[slash - 1] != '/') slash--;
    char *name = bundle + slash;
    long parent = slash - 1;
    while (parent && bundle[parent - 1] != '/') parent--;
    bundle[parent ? parent - 1 : 0] = 0;
    append(append(append(loader, bundle), "/lib/"), name);
    append(append(interpreter, bundle), "/lib/" PYTHON);
    append(append(executable, bundle), "/bin/kled-python");

    char **to = arguments;
    char *ours[] = {loader, "--argv0", executable, interpreter, "-I", "-S", "-X", "utf8"};
    for (unsigned long i = 0; i < sizeof ours / sizeof *ours; i++) *to++ = ours[i];
    if (begins(name, "kled-agent") || begins(name, "kled-init")) {
        *to++ = "-m";
        *to++ = begins(name, "kled-init") ? "kled_agent.supervisor" : "kled_agent";
    }
    if (count > ARGUMENTS_MAX) fail("too many arguments", "");
    for (long i = 1; i < count; i++) *to++ = given[i];
    *to = 0;

    int chosen = 0;
    to = keep_variables(variables, environment, &chosen);
    if (!chosen) {
        choose_certificates();
        *to++ = certificates;
    }
    *to++ = "LC_ALL=C";
    *to++ = "OPENSSL_CONF=/dev/null";
    *to = 0;
    call(EXECVE, (long)loader, (long)arguments, (long)variables, 0);
    fail("cannot start ", loader);
    for (;;)
        ;
}
