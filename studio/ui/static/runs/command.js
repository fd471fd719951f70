// @ts-check
// A command line as a shell takes it.

/** A word of a command line, quoted where a shell would take it apart. @param {string} word */
export const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
