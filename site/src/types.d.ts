/** What libraries without types of their own offer. */

declare module "lcms-wasm" {
  export function instantiate(options: { locateFile: () => string }): Promise<unknown>;
}
declare module "@jsquash/*/codec/enc/*.wasm?url" {
  const url: string;
  export default url;
}
