const options = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
document.body.classList.toggle("bare", "bare" in options);
document.getElementById("about").addEventListener("click", () => document.getElementById("licences").showModal());
dream3dViewer.start(document.getElementById("viewer"), options);
