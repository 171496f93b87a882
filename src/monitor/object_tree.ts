/**
 * The tree of objects that qom-list, qom-get and qom-set walk: QEMU's paths, types and property names
 * for what molt has. Whoever owns an object puts it here as data and accessors.
 */
import { CommandError } from "./errors.ts";
import type { JsonValue } from "../json/value.ts";

/** A property of an object. */
export interface ObjectProperty {
  /** QEMU's name of the type: `string`, `bool`, `int`, `link<memory-backend>`. */
  readonly type: string;
  get(): JsonValue;
  /** Absent if the property cannot be changed. Throws if it cannot have the value. */
  set?(value: JsonValue): void;
}

/** An object: its type and its own properties by name. */
export interface ObjectNode {
  /** QEMU's name of the type: `memory-backend-memfd`. */
  readonly type: string;
  readonly properties?: Readonly<Record<string, ObjectProperty>>;
}

/** A property as qom-list shows it. */
export interface PropertyInfo {
  readonly name: string;
  readonly type: string;
}

interface Node {
  readonly type: string;
  readonly properties: Map<string, ObjectProperty>;
  readonly children: Map<string, Node>;
}

function makeNode({ type, properties = {} }: ObjectNode): Node {
  return { type, properties: new Map(Object.entries(properties)), children: new Map() };
}

/** Objects by path. */
export class ObjectTree {
  readonly #root = makeNode({ type: "container" });

  /**
   * Puts an object at `path` (`/objects/ram0`); containers above it are made as needed. Throws if
   * there is one already.
   */
  add(path: string, object: ObjectNode): void {
    const steps = path.split("/").slice(1);
    const name = steps.pop() ?? "";
    let parent = this.#root;
    for (const step of steps) {
      let child = parent.children.get(step);
      if (child === undefined) {
        child = makeNode({ type: "container" });
        parent.children.set(step, child);
      }
      parent = child;
    }
    if (parent.children.has(name)) {
      throw new CommandError(
        `attempt to add duplicate property '${name}' to object (type '${parent.type}')`,
      );
    }
    parent.children.set(name, makeNode(object));
  }

  /** Removes the object at `path` with all under it, if there is one. */
  remove(path: string): void {
    const slash = path.lastIndexOf("/");
    this.#find(path.slice(0, slash) || "/")?.children.delete(path.slice(slash + 1));
  }

  /** True if there is an object at `path`. */
  has(path: string): boolean {
    return this.#find(path) !== undefined;
  }

  /** An object's properties; its children are properties of type `child<TYPE>`. */
  list(path: string): PropertyInfo[] {
    const node = this.#node(path);
    return [
      { name: "type", type: "string" },
      ...Array.from(node.properties, ([name, { type }]) => ({ name, type })),
      ...Array.from(node.children, ([name, { type }]) => ({ name, type: `child<${type}>` })),
    ];
  }

  /** A property's value; a child's is its path. */
  get(path: string, name: string): JsonValue {
    const node = this.#node(path);
    if (name === "type") return node.type;
    if (node.children.has(name)) return `${path === "/" ? "" : path}/${name}`;
    return this.#property(node, name).get();
  }

  /** Changes a property. */
  set(path: string, name: string, value: JsonValue): void {
    const node = this.#node(path);
    const property = name === "type" || node.children.has(name)
      ? undefined
      : this.#property(node, name);
    if (property?.set === undefined) {
      throw new CommandError(`Property '${node.type}.${name}' is not writable`);
    }
    property.set(value);
  }

  #property(node: Node, name: string): ObjectProperty {
    const property = node.properties.get(name);
    if (property === undefined) {
      throw new CommandError(`Property '${node.type}.${name}' not found`);
    }
    return property;
  }

  #node(path: string): Node {
    const node = path.startsWith("/") ? this.#find(path) : this.#findByEnd(path);
    if (node === undefined) throw new CommandError(`Device '${path}' not found`, "DeviceNotFound");
    return node;
  }

  #find(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const step of path.split("/")) {
      if (step !== "") node = node?.children.get(step);
    }
    return node;
  }

  /** A partial path is the end of exactly one absolute one. */
  #findByEnd(path: string): Node | undefined {
    const [first = "", ...rest] = path.split("/");
    const found: Node[] = [];
    const search = (node: Node) => {
      for (const [name, child] of node.children) {
        if (name === first) {
          let end: Node | undefined = child;
          for (const step of rest) end = end?.children.get(step);
          if (end !== undefined) found.push(end);
        }
        search(child);
      }
    };
    search(this.#root);
    if (found.length > 1) {
      throw new CommandError(`Path '${path}' does not uniquely identify an object`);
    }
    return found[0];
  }
}
