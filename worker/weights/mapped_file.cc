#include "worker/weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/base/strings.h"

namespace pingti::worker {
namespace {

absl::Status OpenError(const std::string& path, int error) {
  const std::string message = Concat("cannot open '", path, "': ", std::strerror(error));
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(message);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(message);
  return absl::InternalError(message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  // Without O_NONBLOCK, opening a FIFO would wait for someone to write to it.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return OpenError(path, errno);
  struct stat info;
  if (::fstat(fd, &info) != 0) {
    const int error = errno;
    ::close(fd);
    return OpenError(path, error);
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return absl::FailedPreconditionError(Concat("'", path, "' is not a regular file"));
  }
  const auto size = static_cast<size_t>(info.st_size);
  void* data = nullptr;
  if (size > 0) {  // an empty mapping is an error to mmap, an empty file is one for the parser
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      const int error = errno;
      ::close(fd);
      return absl::InternalError(Concat("cannot map '", path, "': ", std::strerror(error)));
    }
  }
  ::close(fd);
  return std::unique_ptr<MappedFile>(new MappedFile(path, data, size));
}

void MappedFile::DropPages(std::string_view part) const {
  const auto begin = reinterpret_cast<uintptr_t>(part.data());
  const auto file_begin = reinterpret_cast<uintptr_t>(data_);
  if (part.empty() || begin < file_begin || begin + part.size() > file_begin + size_) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  // Rounded outwards: what a neighbour has in the first or last page can be read again too.
  const uintptr_t first = begin / page * page;
  // Advice: where it is refused, the kernel drops the pages when it needs memory.
  (void)::madvise(reinterpret_cast<void*>(first), begin + part.size() - first, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace pingti::worker
