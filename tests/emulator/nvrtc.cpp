// The stand-in for NVRTC: compiles a kernel file with g++ to a shared object and hands its bytes out as
// the CUBIN. The headers "common/intrinsics.cuh" and "common/hopper.cuh" are replaced by the emulator's twins; nothing
// else of the source changes. Two steps: preprocess, find the `__global__` functions in what comes out, so that
// macros may spell them, and compile that with a table of them appended.
#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#define NVRTC_API extern "C" __attribute__((visibility("default"))) int

extern char** environ;

namespace {

enum : int {
    NVRTC_SUCCESS = 0,
    NVRTC_ERROR_PROGRAM_CREATION_FAILURE = 2,
    NVRTC_ERROR_INVALID_INPUT = 3,
    NVRTC_ERROR_INVALID_PROGRAM = 4,
    NVRTC_ERROR_INVALID_OPTION = 5,
    NVRTC_ERROR_COMPILATION = 6,
    NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION = 9,
    NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID = 10,
};

const int archs[] = {75, 80, 86, 89, 90, 100, 120};
// Options that the real one takes and that change nothing here; what is not known is refused.
const char* const ignored_options =
    " std fmad use_fast_math ftz prec-div prec-sqrt ptxas-options Xptxas split-compile maxrregcount restrict "
    "generate-line-info lineinfo device-debug G extra-device-vectorization device-as-default-execution-space "
    "default-device device-int128 disable-warnings w diag-suppress minimal no-cache ";
// Each is replaced by the file of its name beside this one.
const char* const twins[] = {"common/intrinsics.cuh", "common/hopper.cuh"};

// What to compile for: sm_90, or sm_90a, which is that architecture alone with all its features.
struct Architecture {
    int sm = 75;
    bool is_specific = false;
};

struct Program {
    std::string source, name, log, image;
    std::map<std::string, std::string> headers;
    std::vector<std::string> expressions;
    bool compiled = false;
};

// A folder that is gone when the compilation ends.
struct Folder {
    std::string path;
    Folder() {
        const char* parent = getenv("TMPDIR");
        path = std::string(parent && *parent ? parent : "/tmp") + "/emulator-nvrtc-XXXXXX";
        if (!mkdtemp(path.data())) path.clear();
    }
    ~Folder() {
        if (!path.empty()) remove_all(path);
    }
    static void remove_all(const std::string& folder) {
        if (DIR* entries = opendir(folder.c_str())) {
            while (const dirent* entry = readdir(entries)) {
                std::string name = entry->d_name;
                if (name == "." || name == "..") continue;
                if (unlink((folder + "/" + name).c_str()) != 0) remove_all(folder + "/" + name);
            }
            closedir(entries);
        }
        rmdir(folder.c_str());
    }
};

bool write_file(const std::string& path, const std::string& text) {
    for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
        mkdir(path.substr(0, slash).c_str(), 0700);
    std::ofstream file(path, std::ios::binary);
    file << text;
    return file.good();
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> split(const std::string& text) {
    std::istringstream words(text);
    return {std::istream_iterator<std::string>(words), {}};
}

// Runs the compiler in the folder, with its messages appended to `log`.
bool run_compiler(const Folder& folder, const std::vector<std::string>& arguments, std::string& log) {
    const char* compiler = getenv("CXX");
    std::vector<std::string> words{compiler && *compiler ? compiler : "g++"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, folder.path.c_str());
    posix_spawn_file_actions_addopen(&actions, 1, "messages", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t child;
    int status = -1;
    bool started = posix_spawnp(&child, pointers[0], &actions, nullptr, pointers.data(), environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    if (!started) {
        log += "cannot start the compiler " + words[0] + "\n";
        return false;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    log += read_file(folder.path + "/messages");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// ---- entry points --------------------------------------------------------------------------------

struct Entry {
    std::string name, bounds;
};

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

size_t skip_space(const std::string& text, size_t at) {
    while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at]))) at++;
    return at;
}

// The position after the parenthesis that closes the one at `open`.
size_t skip_parentheses(const std::string& text, size_t open) {
    int depth = 0;
    for (size_t at = open; at < text.size(); at++) {
        if (text[at] == '(') depth++;
        if (text[at] == ')' && --depth == 0) return at + 1;
    }
    return text.size();
}

std::string word_at(const std::string& text, size_t at) {
    size_t end = at;
    while (end < text.size() && is_name(text[end])) end++;
    return text.substr(at, end - at);
}

// Finds `extern "C" __global__ … name(` and blanks the words that g++ does not know. Preprocessed text
// has no comments, and a string with these words in it is no part of a kernel.
std::vector<Entry> take_entries(std::string& text) {
    std::vector<Entry> entries;
    const std::string marker = "__global__", bounds_marker = "__launch_bounds__";
    for (size_t at = text.find(marker); at != std::string::npos; at = text.find(marker, at)) {
        size_t before = at;
        while (before > 0 && std::isspace(static_cast<unsigned char>(text[before - 1]))) before--;
        bool is_c = before >= 3 && text.compare(before - 3, 3, "\"C\"") == 0;
        text.replace(at, marker.size(), marker.size(), ' ');
        Entry entry;
        size_t open = std::string::npos;
        for (size_t next = skip_space(text, at); next < text.size();) {
            std::string word = word_at(text, next);
            if (word.empty()) {
                open = text[next] == '(' ? next : std::string::npos;
                break;
            }
            size_t after = skip_space(text, next + word.size());
            if (word == bounds_marker || word == "__attribute__") {
                size_t end = skip_parentheses(text, after);
                if (word == bounds_marker) {
                    // The first of up to three arguments.
                    size_t comma = after + 1;
                    for (int depth = 0; comma < end - 1 && (depth != 0 || text[comma] != ','); comma++)
                        depth += (text[comma] == '(') - (text[comma] == ')');
                    entry.bounds = text.substr(after + 1, comma - after - 1);
                    for (size_t i = next; i < end; i++)
                        if (text[i] != '\n') text[i] = ' ';
                }
                next = skip_space(text, end);
                continue;
            }
            entry.name = word;
            next = after;
        }
        if (is_c && open != std::string::npos) entries.push_back(entry);
    }
    return entries;
}

std::string table(const std::vector<Entry>& entries, const Program& program, Architecture arch) {
    std::string text =
        "\nextern \"C\" __attribute__((visibility(\"default\"), used)) const emulator::Image emulator_image = {" +
        std::to_string(EMULATOR_INTERFACE) + "ull, " + std::to_string(arch.sm) + (arch.is_specific ? ", true" : ", false") +
        "};\n" +
        "extern \"C\" __attribute__((visibility(\"default\"), used)) const emulator::Kernel emulator_kernels[] = {\n";
    for (const Entry& entry : entries)
        text += "    emulator::describe(\"" + entry.name + "\", " + entry.name + ", " +
                (entry.bounds.empty() ? "1024" : entry.bounds) + "),\n";
    for (const std::string& expression : program.expressions)
        text += "    emulator::describe(\"" + expression + "\", " + expression + ", 1024),\n";
    return text + "    {}};\n";
}

// ---- compilation ---------------------------------------------------------------------------------

const char* const preprocess_options = "-E -x c++ -std=c++17 -D__CUDACC_RTC__ -I . -include";

// -fsanitize=thread calls a hook for each access; libtsan is not linked, the driver's stand-in has the
// hooks. What would merge or split the kernel's accesses is off, so that the trace sees them as they are
// written. No contraction: the same numbers in every build.
const char* const build_options =
    "-c -x c++-cpp-output -std=c++17 -O2 -march=native -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti "
    "-fno-gnu-unique -fno-strict-aliasing -fno-math-errno -ffp-contract=off -g1 "
    "-fsanitize=thread --param=tsan-instrument-func-entry-exit=0 "
    "-fno-tree-sra -fno-tree-vectorize -fno-tree-slp-vectorize -fno-store-merging -fno-tree-loop-distribute-patterns "
    "-Wno-unknown-pragmas -Wno-attributes preprocessed.ii -o kernel.o";

// Where the compiled form of this preprocessed text is kept from one process to the next; it is named by
// two hashes. The folder is emptied when the emulator or the compiler changes.
std::string cached_image(const std::string& text) {
    uint64_t hashes[2] = {0xcbf29ce484222325u, 0x84222325cbf29ce4u};
    for (unsigned char c : text + build_options)
        for (uint64_t& hash : hashes) hash = (hash ^ c ^ (hash >> 47)) * 0x100000001b3u;
    char name[64];
    snprintf(name, sizeof name, "/%016llx%016llx.so", static_cast<unsigned long long>(hashes[0]),
             static_cast<unsigned long long>(hashes[1]));
    return EMULATOR_CACHE + std::string(name);
}

// To the end or not at all: others may read it at the same time.
void keep_image(const std::string& path, const std::string& image, const Folder& folder) {
    std::string unfinished = path + folder.path.substr(folder.path.size() - 6);
    if (!write_file(unfinished, image) || rename(unfinished.c_str(), path.c_str()) != 0) unlink(unfinished.c_str());
}

// A header's text, or that of its twin.
std::string text_of(const std::string& name, const std::string& text) {
    for (const char* twin : twins)
        if (name == twin) return read_file(EMULATOR_SOURCES + name.substr(name.rfind('/')));
    return text;
}

int compile(Program& program, Architecture arch, const std::vector<std::string>& defines, bool verbose) {
    Folder folder;
    if (folder.path.empty()) return NVRTC_ERROR_PROGRAM_CREATION_FAILURE;
    for (const auto& [name, text] : program.headers)
        if (!write_file(folder.path + "/" + name, text_of(name, text)))
            return NVRTC_ERROR_PROGRAM_CREATION_FAILURE;
    // Named as the program is, for messages. All names are relative, so that equal programs have equal text.
    if (!write_file(folder.path + "/" + program.name, program.source))
        return NVRTC_ERROR_PROGRAM_CREATION_FAILURE;
    std::vector<std::string> preprocess = split(preprocess_options);
    preprocess.insert(preprocess.end(), {EMULATOR_SOURCES "/emulator.h", "-D__CUDA_ARCH__=" + std::to_string(arch.sm * 10)});
    if (arch.is_specific) preprocess.push_back("-D__CUDA_ARCH_FEAT_SM" + std::to_string(arch.sm) + "_ALL");
    preprocess.insert(preprocess.end(), defines.begin(), defines.end());
    preprocess.insert(preprocess.end(), {program.name, "-o", "preprocessed.ii"});
    if (!run_compiler(folder, preprocess, program.log)) return NVRTC_ERROR_COMPILATION;
    std::string text = read_file(folder.path + "/preprocessed.ii");
    std::vector<Entry> entries = take_entries(text);
    text += table(entries, program, arch);

    std::string kept = cached_image(text);
    program.image = read_file(kept);
    if (program.image.empty()) {
        write_file(folder.path + "/preprocessed.ii", text);
        if (!run_compiler(folder, split(build_options), program.log)) return NVRTC_ERROR_COMPILATION;
        if (!run_compiler(folder, split("-shared -o kernel.so kernel.o"), program.log)) return NVRTC_ERROR_COMPILATION;
        program.image = read_file(folder.path + "/kernel.so");
        keep_image(kept, program.image, folder);
    }
    program.compiled = true;
    if (verbose)
        for (const Entry& entry : entries)
            program.log += "ptxas info    : Compiling entry function '" + entry.name + "' for 'sm_" +
                           std::to_string(arch.sm) + (arch.is_specific ? "a" : "") + "'\nptxas info    : Function properties for " + entry.name +
                           "\n    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
                           "ptxas info    : Used 32 registers\n";
    return NVRTC_SUCCESS;
}

int hand_out(const std::string& text, char* to) {
    memcpy(to, text.data(), text.size());
    return NVRTC_SUCCESS;
}

}  // namespace

NVRTC_API nvrtcVersion(int* major, int* minor) {
    *major = 13;
    *minor = 0;
    return NVRTC_SUCCESS;
}

NVRTC_API nvrtcGetNumSupportedArchs(int* count) {
    *count = sizeof archs / sizeof archs[0];
    return NVRTC_SUCCESS;
}

NVRTC_API nvrtcGetSupportedArchs(int* supported) {
    memcpy(supported, archs, sizeof archs);
    return NVRTC_SUCCESS;
}

NVRTC_API nvrtcCreateProgram(Program** program, const char* source, const char* name, int count,
                             const char* const* headers, const char* const* names) {
    if (!program || !source || count < 0) return NVRTC_ERROR_INVALID_INPUT;
    auto created = std::make_unique<Program>();
    created->source = source;
    created->name = name && *name ? name : "default_program";
    if (created->name[0] == '/' || created->name.find("..") != std::string::npos) return NVRTC_ERROR_INVALID_INPUT;
    for (int i = 0; i < count; i++) {
        std::string header = names[i];
        if (header.empty() || header[0] == '/' || header.find("..") != std::string::npos)
            return NVRTC_ERROR_INVALID_INPUT;
        created->headers[header] = headers[i];
    }
    *program = created.release();
    return NVRTC_SUCCESS;
}

NVRTC_API nvrtcDestroyProgram(Program** program) {
    if (!program || !*program) return NVRTC_ERROR_INVALID_PROGRAM;
    delete *program;
    *program = nullptr;
    return NVRTC_SUCCESS;
}

NVRTC_API nvrtcCompileProgram(Program* program, int count, const char* const* options) {
    if (!program) return NVRTC_ERROR_INVALID_PROGRAM;
    program->log.clear();
    program->image.clear();
    Architecture target;
    bool verbose = false;
    std::vector<std::string> defines;
    for (int i = 0; i < count; i++) {
        std::string option = options[i];
        for (const char* prefix : {"--gpu-architecture=", "-arch="})
            if (option.rfind(prefix, 0) == 0) {
                std::string arch = option.substr(strlen(prefix));
                size_t digits = arch.find('_');
                target.sm = digits == std::string::npos ? 0 : atoi(arch.c_str() + digits + 1);
                target.is_specific = arch.back() == 'a';
                bool known = false;
                for (int supported : archs) known |= supported == target.sm;
                known &= !target.is_specific || target.sm >= 90;
                if (!known) {
                    program->log = "error: invalid value for --gpu-architecture: " + arch + "\n";
                    return NVRTC_ERROR_INVALID_OPTION;
                }
            }
        if (option == "-D" || option == "--define-macro") {
            if (i + 1 == count) return NVRTC_ERROR_INVALID_OPTION;
            defines.push_back(std::string("-D") + options[++i]);
        } else if (option.rfind("-D", 0) == 0) {
            defines.push_back(option);
        } else if (option.rfind("--define-macro=", 0) == 0) {
            defines.push_back("-D" + option.substr(15));
        } else if (option.rfind("--gpu-architecture=", 0) != 0 && option.rfind("-arch=", 0) != 0) {
            size_t start = option.find_first_not_of('-');
            std::string name = start > 2 ? "" : option.substr(start, option.find('=') - start);
            bool known = !name.empty() && strstr(ignored_options, (" " + name + " ").c_str()) != nullptr;
            if (!known) {
                program->log = "error: unrecognized option " + option + " found\n";
                return NVRTC_ERROR_INVALID_OPTION;
            }
        }
        verbose |= option.find("ptxas-options") != std::string::npos && option.find("-v") != std::string::npos;
    }
    return compile(*program, target, defines, verbose);
}

NVRTC_API nvrtcGetProgramLogSize(Program* program, size_t* size) {
    *size = program->log.size() + 1;
    return NVRTC_SUCCESS;
}

NVRTC_API nvrtcGetProgramLog(Program* program, char* log) {
    memcpy(log, program->log.c_str(), program->log.size() + 1);
    return NVRTC_SUCCESS;
}

NVRTC_API nvrtcGetCUBINSize(Program* program, size_t* size) {
    *size = program->image.size();
    return NVRTC_SUCCESS;
}

NVRTC_API nvrtcGetCUBIN(Program* program, char* image) { return hand_out(program->image, image); }

// There is no PTX, as when NVRTC compiles for a real architecture.
NVRTC_API nvrtcGetPTXSize(Program*, size_t* size) {
    *size = 0;
    return NVRTC_SUCCESS;
}
NVRTC_API nvrtcGetPTX(Program*, char*) { return NVRTC_SUCCESS; }

NVRTC_API nvrtcAddNameExpression(Program* program, const char* expression) {
    program->expressions.push_back(expression);
    return NVRTC_SUCCESS;
}

// Kernels are found by the expression itself.
NVRTC_API nvrtcGetLoweredName(Program* program, const char* expression, const char** name) {
    if (!program->compiled) return NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION;
    for (const std::string& known : program->expressions)
        if (known == expression) {
            *name = known.c_str();
            return NVRTC_SUCCESS;
        }
    return NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID;
}

extern "C" __attribute__((visibility("default"))) const char* nvrtcGetErrorString(int result) {
    switch (result) {
        case NVRTC_SUCCESS: return "NVRTC_SUCCESS";
        case NVRTC_ERROR_PROGRAM_CREATION_FAILURE: return "NVRTC_ERROR_PROGRAM_CREATION_FAILURE";
        case NVRTC_ERROR_INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
        case NVRTC_ERROR_INVALID_PROGRAM: return "NVRTC_ERROR_INVALID_PROGRAM";
        case NVRTC_ERROR_INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
        case NVRTC_ERROR_COMPILATION: return "NVRTC_ERROR_COMPILATION";
        case NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION: return "NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION";
        case NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID: return "NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID";
        default: return "NVRTC_ERROR unknown";
    }
}
