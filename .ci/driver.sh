#!/usr/bin/env bash
# Makes sure that this machine can build radiograd and has a Vulkan adapter to run it on.
#
#   .ci/driver.sh            check; as root on Debian or Ubuntu, install the distribution's software driver if none is there
#   .ci/driver.sh --check    check only, install nothing
#
# Exit status: 0 ready, 1 something is missing (the message says which command gets it). Adds no package source.
set -euo pipefail

mode=${1:-install}
packages="mesa-vulkan-drivers libvulkan1"

say() { echo "driver: $*" >&2; }
stop() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

system=$(uname -s 2>/dev/null || echo unknown)

# 1. Toolchain and linker.
if ! have cargo; then
    stop "no Rust toolchain: get one with   curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh   (https://rustup.rs)"
fi
if [ "$system" = Linux ] && ! have cc; then
    if have apt-get; then
        stop "no C linker (cc): get one with   $([ "$(id -u)" = 0 ] || echo 'sudo ')apt-get install build-essential"
    fi
    stop "no C linker (cc): install your distribution's compiler (Fedora: gcc, Arch: base-devel, openSUSE: gcc)"
fi

# 2. The graphics interface.
case "$system" in
    Darwin) say "macOS: Metal is part of the system, nothing to install"; exit 0 ;;
    MINGW* | MSYS* | CYGWIN* | Windows*) say "Windows: DirectX 12 or the graphics driver's Vulkan is used, nothing to install"; exit 0 ;;
    Linux) ;;
    *) stop "unknown system $system: a Vulkan loader (libvulkan.so.1) and a driver are needed" ;;
esac

# The loader, as the dynamic linker of this machine would find it.
loader() {
    local ldconfig candidate
    for ldconfig in ldconfig /sbin/ldconfig /usr/sbin/ldconfig; do
        # No grep -q: it would close the pipe early and pipefail would call that a failure.
        if have "$ldconfig" && "$ldconfig" -p 2>/dev/null | grep -F libvulkan.so.1 >/dev/null; then return 0; fi
    done
    local IFS=:
    for candidate in ${LD_LIBRARY_PATH:-} /usr/lib /usr/lib64 /usr/local/lib /usr/lib/*-linux-gnu; do
        if [ -n "$candidate" ] && [ -e "$candidate/libvulkan.so.1" ]; then return 0; fi
    done
    return 1
}

# Prints the names of the Vulkan drivers that are registered, as "intel, lvp, radeon"; fails if there is none.
drivers() {
    local entry file names=""
    local forced=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}
    local IFS=:
    note() { # adds one manifest, if it is a file
        [ -f "$1" ] || return 0
        file=${1##*/}
        file=${file%%.*}
        names="${names:+$names, }${file%_icd}"
    }
    if [ -n "$forced" ]; then
        # These variables replace the standard folders: a name that does not exist leaves no driver at all.
        for entry in $forced; do
            if [ -d "$entry" ]; then
                for file in "$entry"/*.json; do note "$file"; done
            else
                note "$entry"
            fi
        done
    else
        for entry in ${XDG_CONFIG_HOME:-${HOME:-/root}/.config} /etc/xdg /usr/local/etc /etc \
                     ${XDG_DATA_HOME:-${HOME:-/root}/.local/share} /usr/local/share /usr/share; do
            for file in "$entry"/vulkan/icd.d/*.json; do note "$file"; done
        done
    fi
    [ -n "$names" ] && echo "$names"
}

missing() {
    local what=""
    loader || what="Vulkan loader (libvulkan.so.1)"
    drivers >/dev/null || what="${what:+$what and }Vulkan driver"
    echo "$what"
}

lack=$(missing)
if [ -z "$lack" ]; then
    say "Vulkan loader present, drivers: $(drivers)"
    exit 0
fi
say "this machine has no $lack"
if [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ] && ! drivers >/dev/null; then
    stop "VK_DRIVER_FILES (or VK_ICD_FILENAMES) names no file that exists: ${VK_DRIVER_FILES:-$VK_ICD_FILENAMES}; correct or unset it"
fi

if ! have apt-get; then
    if have dnf; then stop "install the software driver with   sudo dnf install mesa-vulkan-drivers vulkan-loader"; fi
    if have pacman; then stop "install the software driver with   sudo pacman -S vulkan-swrast vulkan-icd-loader"; fi
    if have zypper; then stop "install the software driver with   sudo zypper install libvulkan_lvp libvulkan1"; fi
    if have apk; then stop "install the software driver with   sudo apk add mesa-vulkan-swrast vulkan-loader"; fi
    stop "install your distribution's Vulkan loader and Mesa's software driver (lavapipe)"
fi
if [ "$mode" = --check ]; then stop "install the software driver with   sudo apt-get install --no-install-recommends $packages"; fi
if [ "$(id -u)" != 0 ]; then stop "install the software driver with   sudo apt-get install --no-install-recommends $packages"; fi

# 3. As root: the distribution's own packages, from the sources that are configured already.
install() {
    # shellcheck disable=SC2086 # the list is meant to be split
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages >&2
}
say "installing $packages"
if ! install; then
    say "that failed: refreshing the package lists and trying once more"
    DEBIAN_FRONTEND=noninteractive apt-get update -q >&2 || stop "apt-get update failed: is there a network?"
    install || stop "apt-get could not install $packages"
fi
lack=$(missing)
[ -z "$lack" ] || stop "still no $lack after installing $packages"
say "Vulkan loader present, drivers: $(drivers)"
