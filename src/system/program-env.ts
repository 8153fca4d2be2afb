/** The environment of the server with messages in one language, so that they can be read by programs. */
export function programEnv(own: Readonly<Record<string, string>> | undefined): NodeJS.ProcessEnv {
  return { ...process.env, LC_ALL: 'C', ...own };
}
