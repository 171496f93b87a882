/** The scripted migrations work on QEMU's machines as they do on molt's. */
import { scriptScenarios } from "../support/script_scenarios.ts";

scriptScenarios("qemu");
