# complete.zsh COMPLETIONS WORK LINE: prints what an interactive zsh, with the completions of that folder,
# offers when Tab is pressed at the end of LINE. It writes into the folder WORK, and is faster when that is
# used again. Completion works in the line editor only, so there is a terminal for it.
zmodload zsh/zpty
export FOLDER=$1 ZDOTDIR=$2 OFFERED=$2/offered

cat >$ZDOTDIR/.zshrc <<'RC'
unset zle_bracketed_paste
fpath=($FOLDER $fpath)
autoload -Uz compinit && compinit -u
# Every completion goes through compadd; with -O, -A or -D it only fills an array.
compadd() {
	local -a offered
	if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
		builtin compadd -A offered "$@"
		print -l -- $offered >>$OFFERED
	fi
	builtin compadd "$@"
}
zle-line-init() { : >$ZDOTDIR/ready }
offered-all() { : >$ZDOTDIR/done }
zle -N zle-line-init
zle -N offered-all
bindkey '^I' complete-word
bindkey '^X' offered-all
RC

await() {
	repeat 1000; do
		[[ -e $1 ]] && return
		zpty -r -t shell >/dev/null # else its terminal fills up
		sleep 0.01
	done
	print -u2 "zsh did not come to ${1:t} in 10 s"
	exit 1
}

rm -f $ZDOTDIR/{ready,done}
: >$OFFERED
zpty shell zsh -d -i
await $ZDOTDIR/ready
zpty -w -n shell "$3"$'\t\x18'
await $ZDOTDIR/done
zpty -d shell
sort -u $OFFERED
