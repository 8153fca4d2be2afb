/** As a shell takes it back: commands in sentences are there to be copied, and names of VMs and hosts hold anything. */
export function shellArgument(value: string): string {
  return /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}
