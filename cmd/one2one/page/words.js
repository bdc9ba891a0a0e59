// What a user is told when something fails: what it is, and what to do.

// mediaFailure explains an error of getUserMedia.
export function mediaFailure(error) {
  switch (error?.name) {
    case "NotAllowedError":
      return "Camera and microphone are blocked. Allow them beside the address of this page, then try again.";
    case "NotReadableError":
    case "AbortError":
      return "Camera or microphone cannot be opened; another program may be using them. Close that, then try again.";
    case "InsecureContext":
      return "Browsers open the camera only for HTTPS and localhost. Open this page under such an address.";
  }
  return `Camera and microphone cannot be opened (${error?.message || error}).`;
}

// noDevice is said when there is nothing to be opened; the call can go on without.
export const noDevice = {
  video: "No camera was found. You can call all the same: the other side hears you.",
  audio: "No microphone was found. You can call all the same: the other side sees you.",
  both: "Neither camera nor microphone was found. You can call all the same, to see and hear the other side.",
};

// relayFailure explains why no relayed address was had: errors are those of onicecandidateerror.
export function relayFailure(errors, transport) {
  const codes = new Set(errors.map((e) => e.errorCode));
  const way = transport === "any" ? "" : ` over ${transport.toUpperCase()}`;
  if (codes.has(401) || codes.has(438) || codes.has(403)) return new Error("The relay refuses the credentials of this call. The application and the relay may have different secrets.");
  if (codes.has(486)) return new Error("The relay gives no more addresses to this user. End another call first.");
  if (codes.has(508)) return new Error("The relay is full. Try again in a moment.");
  const hint = transport === "udp" ? " A firewall may block UDP: try TCP." : " It may be down, or a firewall is in between.";
  return new Error(`The relay cannot be reached${way}.${hint}`);
}
