/**
 * Completion scripts, made from the command tree, so that they cannot fall behind it. All three work alike:
 * the words before the cursor are walked down the tree to a place, and the place has its words. Everything
 * that goes into a script is a name of ours, of letters, digits and dashes; descriptions are quoted.
 */
import type { Command, Option } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

type Place = {
  /** Names from the root, each after a blank: `` or ` host add`. */
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly description: string }[];
  readonly options: readonly PlaceOption[];
  /** Fixed values of the first argument. */
  readonly values: readonly string[];
};

type PlaceOption = {
  readonly flags: readonly string[];
  readonly description: string;
  readonly takesValue: boolean;
  readonly values: readonly string[];
};

export function completionScript(program: Command, shell: Shell): string {
  const places = placesOf(program, '', globalOptions(program));
  switch (shell) {
    case 'bash':
      return bashScript(places);
    case 'zsh':
      return zshScript(places);
    case 'fish':
      return fishScript(places);
  }
}

function placesOf(command: Command, path: string, global: readonly PlaceOption[]): Place[] {
  const children = command.commands.map((child) => ({ child, name: child.name() }));
  const own = path === '' ? [] : command.options.filter((option) => !option.hidden).map(optionOf);
  const place = {
    path,
    commands: children.map(({ child, name }) => ({ name, description: firstLine(child) })),
    options: [...own, ...global],
    values: command.registeredArguments[0]?.argChoices ?? [],
  };
  const below = children.flatMap(({ child, name }) => placesOf(child, `${path} ${name}`, global));
  return [place, ...below];
}

function globalOptions(program: Command): readonly PlaceOption[] {
  const help = { flags: ['--help'], description: 'show help', takesValue: false, values: [] };
  return [...program.options.map(optionOf), help];
}

function optionOf(option: Option): PlaceOption {
  return {
    flags: [option.short, option.long].filter((flag) => typeof flag === 'string'),
    description: option.description,
    takesValue: option.required || option.optional,
    values: option.argChoices ?? [],
  };
}

function firstLine(command: Command): string {
  return command.description().split('\n', 1)[0] ?? '';
}

function wordsOf(place: Place): string {
  const flags = place.options.flatMap((option) => option.flags);
  return [...place.commands.map(({ name }) => name), ...place.values, ...flags].join(' ');
}

/** The shell's `case` lines that descend one word: `' host add') place=' host add' ;;`. */
function descents(places: readonly Place[]): string {
  const paths = places.map(({ path }) => `'${path}'`).filter((path) => path !== "''");
  return `${paths.join('|')}) place="$place $word" ;;`;
}

function valueCases(places: readonly Place[], line: (values: string) => string): string[] {
  return places.flatMap((place) =>
    place.options
      .filter((option) => option.takesValue)
      .map((option) => {
        const patterns = option.flags.map((flag) => `'${place.path}:${flag}'`).join('|');
        return `    ${patterns}) ${line(option.values.join(' '))} ;;`;
      }),
  );
}

function bashScript(places: readonly Place[]): string {
  const values = valueCases(places, (words) =>
    words === '' ? 'return' : `COMPREPLY=($(compgen -W '${words}' -- "$current")); return`,
  );
  return `# bash completion for understudy
_understudy() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  local place='' word words='' index
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    case "$place $word" in
      ${descents(places)}
    esac
  done
  case "$place:$previous" in
${values.join('\n')}
  esac
  case "$place" in
${places.map((place) => `    '${place.path}') words='${wordsOf(place)}' ;;`).join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _understudy understudy
`;
}

function zshScript(places: readonly Place[]): string {
  const values = valueCases(places, (words) =>
    words === '' ? '_files; return' : `compadd -- ${words}; return`,
  );
  return `#compdef understudy
_understudy() {
  local place='' word index
  for ((index = 2; index < CURRENT; index++)); do
    word=\${words[index]}
    case "$place $word" in
      ${descents(places)}
    esac
  done
  case "$place:\${words[CURRENT-1]}" in
${values.join('\n')}
  esac
  case "$place" in
${places.map((place) => `    '${place.path}') compadd -- ${wordsOf(place)} ;;`).join('\n')}
  esac
}
if [ "$funcstack[1]" = _understudy ]; then
  _understudy
else
  compdef _understudy understudy
fi
`;
}

function fishScript(places: readonly Place[]): string {
  const paths = places.map(({ path }) => `'${path}'`).join(' ');
  const lines = places.flatMap((place) => {
    const at = `complete -c understudy -n '__understudy_at "${place.path}"'`;
    return [
      ...place.commands.map(
        ({ name, description }) => `${at} -f -a ${name} -d ${fishQuote(description)}`,
      ),
      ...place.values.map((value) => `${at} -f -a ${value}`),
      ...place.options.map((option) => `${at} ${fishOption(option)}`),
    ];
  });
  return `# fish completion for understudy
function __understudy_at
  set -l place ''
  for word in (commandline -opc)[2..-1]
    if contains -- "$place $word" ${paths}
      set place "$place $word"
    end
  end
  test "$place" = "$argv[1]"
end
${lines.join('\n')}
`;
}

function fishOption(option: PlaceOption): string {
  const flags = option.flags.map((flag) =>
    flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
  );
  const value = option.takesValue ? ' -r' : '';
  const values = option.values.length === 0 ? '' : ` -f -a '${option.values.join(' ')}'`;
  return `${flags.join(' ')}${value}${values} -d ${fishQuote(option.description)}`;
}

/** Within single quotes fish knows only \\\\ and \\'. */
function fishQuote(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
