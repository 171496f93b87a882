/** What is wrong with disk images. */

/** An image cannot be used as its options say. */
export class ImageError extends Error {
  override readonly name = "ImageError";
}
