# In place of openpolicyagent/opa: the same OPA, from its Go module (native/build.py).
FROM scratch
COPY opa /opa
USER 1000:1000
ENTRYPOINT ["/opa"]
CMD ["run"]
