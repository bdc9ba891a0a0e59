{{/* What templates share. Why each thing is as it is: ../../base/relay/pod.yaml. */}}

{{- define "hairpin.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end }}

{{- define "hairpin.selector" -}}
app.kubernetes.io/name: hairpin
app.kubernetes.io/component: relay
{{- end }}

{{- define "hairpin.siblings" -}}
{{- if or (eq .Values.mode "host-network") (eq .Values.mode "load-balancer") }}yes{{ end }}
{{- end }}

{{- /* The workload of the mode and its Service for clients have one name. */}}
{{- define "hairpin.workload" -}}
{{- get (dict "host-network" "hairpin" "load-balancer" "hairpin" "sidecar" "media" "demo" "one2one") .Values.mode }}
{{- end }}

{{- define "hairpin.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "hairpin.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "hairpin.container" -}}
name: hairpin
image: {{ include "hairpin.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve]
env:
  {{- if or (eq .Values.mode "host-network") (eq .Values.mode "demo") }}
  - name: HOST_IP
    valueFrom:
      fieldRef:
        fieldPath: status.hostIP
  {{- end }}
  {{- if eq .Values.mode "sidecar" }}
  - name: POD_IP
    valueFrom:
      fieldRef:
        fieldPath: status.podIP
  {{- end }}
  - name: HAIRPIN_LISTEN
    value: udp://:3478,tcp://:3478
  - name: HAIRPIN_RELAY_ADDRESS
    valueFrom:
      fieldRef:
        fieldPath: status.podIPs
  - name: HAIRPIN_SECRETS_FILE
    value: /etc/hairpin/credentials/secrets
  - name: HAIRPIN_ADMIN
    value: {{ if eq .Values.mode "host-network" }}$(HOST_IP){{ end }}:9478
  - name: HAIRPIN_ADMIN_TOKEN_FILE
    value: /run/hairpin/admin-token
  - name: HAIRPIN_METRICS_ALLOCATIONS
    value: "0"
  - name: HAIRPIN_DRAIN_TIMEOUT
    value: {{ if eq .Values.mode "demo" }}10s{{ else }}{{ .Values.drainMinutes }}m{{ end }}
  - name: HAIRPIN_LOG_FORMAT
    value: json
  - name: HAIRPIN_WORKERS
    valueFrom:
      resourceFieldRef:
        containerName: hairpin
        resource: requests.cpu
  - name: GOMEMLIMIT
    value: {{ .Values.goMemoryLimit }}
  {{- if include "hairpin.siblings" . }}
  - name: HAIRPIN_PEERS_FILE
    value: /etc/hairpin/peers/rules
  {{- end }}
  {{- if eq .Values.mode "host-network" }}
  - name: HAIRPIN_PUBLIC_ADDRESS
    value: {{ .Values.hostNetwork.publicAddress | default "$(HOST_IP)" }}
  - name: HAIRPIN_ALTERNATE_SERVER
    value: {{ join "," .Values.hostNetwork.alternateServers }}
  {{- end }}
  {{- if eq .Values.mode "sidecar" }}
  - name: HAIRPIN_PEERS
    value: $(POD_IP)/32:{{ .Values.sidecar.peerPorts }}
  {{- end }}
  {{- if eq .Values.mode "demo" }}
  - name: HAIRPIN_ICE
    value: 127.0.0.1:8088
  - name: HAIRPIN_ICE_URL
    value: turn:$(HOST_IP):{{ .Values.demo.turnNodePort }}?transport=udp,turn:$(HOST_IP):{{ .Values.demo.turnNodePort }}?transport=tcp
  {{- end }}
  {{- range $flag, $value := .Values.settings }}
  - name: HAIRPIN_{{ $flag | replace "-" "_" | upper }}
    value: {{ $value | quote }}
  {{- end }}
ports:
  - name: turn-udp
    containerPort: 3478
    protocol: UDP
  - name: turn-tcp
    containerPort: 3478
    protocol: TCP
  - name: admin
    containerPort: 9478
    protocol: TCP
readinessProbe: # not /readyz: see ../../base/relay/pod.yaml
  httpGet:
    path: /healthz
    port: admin
  periodSeconds: 5
livenessProbe:
  httpGet:
    path: /healthz
    port: admin
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
lifecycle:
  preStop:
    exec:
      command: [/hairpin, drain]
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- include "hairpin.containerSecurity" . | nindent 2 }}
volumeMounts:
  - name: credentials
    mountPath: /etc/hairpin/credentials
    readOnly: true
  - name: admin-token
    mountPath: /run/hairpin/admin-token
    subPath: admin-token
    readOnly: true
  {{- if include "hairpin.siblings" . }}
  - name: peers
    mountPath: /etc/hairpin/peers
    readOnly: true
  {{- end }}
{{- end }}

{{- define "hairpin.pod" -}}
serviceAccountName: hairpin
automountServiceAccountToken: false
enableServiceLinks: false
{{- if eq .Values.mode "host-network" }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
tolerations:
  - key: node-role.kubernetes.io/control-plane
    operator: Exists
    effect: NoSchedule
{{- end }}
terminationGracePeriodSeconds: {{ if eq .Values.mode "demo" }}30{{ else }}{{ mul 60 (add1 .Values.drainMinutes) }}{{ end }}
{{- if eq .Values.mode "load-balancer" }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "hairpin.selector" . | nindent 8 }}
{{- end }}
securityContext:
  {{- include "hairpin.podSecurity" . | nindent 2 }}
containers:
  - {{- include "hairpin.container" . | nindent 4 }}
  {{- if eq .Values.mode "sidecar" }}
  - {{- toYaml .Values.sidecar.container | nindent 4 }}
  {{- end }}
  {{- if eq .Values.mode "demo" }}
  - name: one2one
    image: {{ .Values.demo.image.repository }}:{{ .Values.demo.image.tag }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    env:
      - name: ONE2ONE_ADDRESS
        value: 0.0.0.0:8443
      - name: ONE2ONE_ICE_URL
        value: http://127.0.0.1:8088/ice
    ports:
      - name: page
        containerPort: 8443
        protocol: TCP
    readinessProbe:
      httpGet:
        path: /
        port: page
        scheme: HTTPS
    resources:
      requests:
        cpu: 10m
        memory: 32Mi
      limits:
        memory: 128Mi
    securityContext:
      {{- include "hairpin.containerSecurity" . | nindent 6 }}
  {{- end }}
volumes:
  - name: credentials
    projected:
      defaultMode: 0440
      sources:
        - serviceAccountToken:
            audience: hairpin-nobody
            path: secrets
        - secret:
            name: {{ .Values.secretName }}
            optional: true
            items: []
  - name: admin-token
    projected:
      defaultMode: 0440
      sources:
        - serviceAccountToken:
            audience: hairpin-admin
            path: admin-token
  {{- if include "hairpin.siblings" . }}
  - name: peers
    configMap:
      name: hairpin-peers
      defaultMode: 0440
  {{- end }}
{{- end }}
