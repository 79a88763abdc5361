/* Long-term keys.
 *
 * libotr makes each DSA key with a group of its own, which takes 50 to 200 ms: too long for the thousands of devices of a run.
 * DSA works in any such group, and nobody looks which one a key brings along; so the keys here share a published one, and
 * come to libotr in the form in which it keeps keys in its file. Files are in memory. */
#define _GNU_SOURCE
#include <gcrypt.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"

/* RFC 5114, section 2.1: 1024-bit MODP group with 160-bit prime order subgroup. */
static const char DOMAIN[] =
    "(domain"
    " (p #00B10B8F96A080E01DDE92DE5EAE5D54EC52C99FBCFB06A3C69A6A9DCA52D23B616073E28675A23D189838EF1E2EE652C013ECB4AEA90611"
    "2324975C3CD49B83BFACCBDD7D90C4BD7098488E9C219A73724EFFD6FAE5644738FAA31A4FF55BCCC0A151AF5F0DC8B4BD45BF37DF365C1A65E68C"
    "FDA76D4DA708DF1FB2BC2E4A4371#)"
    " (q #00F518AA8781A8DF278ABA4E7D64B7CB9D49462353#)"
    " (g #00A4D1CBD5C3FD34126765A442EFB99905F8104DD258AC507FD6406CFF14266D31266FEA1E5C41564B777E690F5504F213160217B4B01B886A"
    "5E91547F9E2749F4D7FBD7D3B9A92EE1909D0D2263F80A76A6A24C087A091F531DBF0A0169B6A28AD662A4D18E73AFA32D779D5918D08BC8858F4D"
    "CEF97C2A24855E6EEB22B3B2E5#))";

void start_libotr(void) {
    /* Randomness for these keys need not outlive the machine. It has to be asked for before anything else. */
    gcry_control(GCRYCTL_ENABLE_QUICK_RANDOM, 0);
    OTRL_INIT;
}

static void must(gcry_error_t error, const char *what) {
    if (error) {
        refuse(INTERNAL, "%s: %s", what, gcry_strerror(error));
    }
}

/* The private key as libgcrypt writes it: (private-key (dsa (p ...) ...)). */
static const char *private_key(void) {
    gcry_sexp_t wanted, made = NULL, private;
    must(gcry_sexp_build(&wanted, NULL, format("(genkey (dsa %s))", DOMAIN)), "a key's parameters");
    gcry_error_t error = gcry_pk_genkey(&made, wanted);
    gcry_sexp_release(wanted);
    must(error, "a key");
    private = gcry_sexp_find_token(made, "private-key", 0);
    gcry_sexp_release(made);
    size_t length = gcry_sexp_sprint(private, GCRYSEXP_FMT_ADVANCED, NULL, 0);
    char *text = room(length + 1);
    gcry_sexp_sprint(private, GCRYSEXP_FMT_ADVANCED, text, length);
    gcry_sexp_release(private);
    return text;
}

/* A file in memory. */
static FILE *memory_file(void) {
    int descriptor = memfd_create("libotr", MFD_CLOEXEC);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "w+");
    if (file == NULL) {
        refuse(INTERNAL, "no file in memory");
    }
    return file;
}

void make_key(OtrlUserState state, const char *account) {
    const char *text = format("(privkeys (account (name #%s#) (protocol #%s#) %s))", hex(bytes_of(account)),
                              hex(bytes_of(NETWORK)), private_key());
    FILE *file = memory_file();
    fputs(text, file);
    rewind(file);
    gcry_error_t error = otrl_privkey_read_FILEp(state, file);
    fclose(file);
    must(error, "libotr reads a key");
}

void make_instance_tag(OtrlUserState state, const char *account) {
    FILE *file = memory_file();
    gcry_error_t error = otrl_instag_generate_FILEp(state, file, account, NETWORK);
    fclose(file);
    must(error, "libotr makes an instance tag");
}

const char *own_fingerprint(const struct device *device) {
    unsigned char *fingerprint = room(20);
    if (otrl_privkey_fingerprint_raw(device->state, fingerprint, device->id, NETWORK) == NULL) {
        refuse(INTERNAL, "libotr has no key of %s", device->id);
    }
    return hex((struct bytes){fingerprint, 20});
}

const char *readable(const char *fingerprint) {
    char *text = room(OTRL_PRIVKEY_FPRINT_HUMAN_LEN);
    otrl_privkey_hash_to_human(text, unhex(fingerprint).at);
    return text;
}
