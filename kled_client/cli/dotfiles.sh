# Installs a repository of dotfiles; started with its URL, and a branch or nothing.
# Results are lines on standard output, everything else goes to standard error.
set -eu
url=$1 branch=${2:-}
place=${XDG_CONFIG_HOME:-$HOME/.config}/kled/dotfiles

fail() { echo "dotfiles: $1" >&2; exit 1; }

command -v git >/dev/null 2>&1 || fail 'git is not installed here'
if [ -d "$place/.git" ]; then
    now=$(git -C "$place" remote get-url origin)
    [ "$now" = "$url" ] || fail "$place is of $now; remove it to use another repository"
    [ -z "$branch" ] || git -C "$place" checkout -q "$branch" >&2
    # Changes of one's own are never thrown away: git refuses, and says what is in the way.
    git -C "$place" pull -q --ff-only >&2
else
    mkdir -p "${place%/*}"
    git clone -q ${branch:+--branch "$branch"} -- "$url" "$place" >&2
fi
echo "directory $place"
cd "$place"

for script in install.sh install bootstrap.sh bootstrap script/bootstrap setup.sh setup script/setup
do
    [ -f "$script" ] || continue
    [ -x "$script" ] || chmod u+x "$script"
    "./$script" >&2 || fail "$script ended with $?"
    echo "ran $script"
    exit 0
done

# A directory that is there already is gone into, so that nobody's ~/.config goes away.
link() {
    target=$HOME/$1
    if [ -d "$1" ] && [ ! -L "$1" ] && [ -d "$target" ] && [ ! -L "$target" ]; then
        for inside in "$1"/* "$1"/.[!.]* "$1"/..?*; do
            if [ -e "$inside" ] || [ -L "$inside" ]; then link "$inside"; fi
        done
        return
    fi
    if [ "$(readlink "$target" 2>/dev/null || :)" = "$place/$1" ]; then return; fi
    if [ -e "$target" ] || [ -L "$target" ]; then
        number=1
        while [ -e "$target.before.$number" ] || [ -L "$target.before.$number" ]; do
            number=$((number + 1))
        done
        mv "$target" "$target.before.$number"
        echo "moved $1.before.$number"
    fi
    ln -s "$place/$1" "$target"
    echo "linked $1"
}

for file in .[!.]* ..?*; do
    case $file in .git|.gitignore|.gitmodules|.gitattributes|.github) continue ;; esac
    if [ -e "$file" ] || [ -L "$file" ]; then link "$file"; fi
done
